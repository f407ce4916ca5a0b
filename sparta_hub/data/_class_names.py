"""Names of the classes of the data sets that are known by name, in the order of their labels."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(name.replace("_", " ") for name in text.split())


CLASSES: dict[str, tuple[str, ...]] = {
    "cifar10": _words("airplane automobile bird cat deer dog frog horse ship truck"),
    "cifar100": _words(
        "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
        "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
        "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster "
        "man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
        "pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
        "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
        "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
    ),
    "svhn": _words("0 1 2 3 4 5 6 7 8 9"),
    "gtsrb": _words(
        "speed_limit_20 speed_limit_30 speed_limit_50 speed_limit_60 speed_limit_70 speed_limit_80 "
        "end_of_speed_limit_80 speed_limit_100 speed_limit_120 no_passing no_passing_over_3.5_t right_of_way "
        "priority_road yield stop no_vehicles no_vehicles_over_3.5_t no_entry general_caution curve_left curve_right "
        "double_curve bumpy_road slippery_road road_narrows_right road_work traffic_signals pedestrians children "
        "bicycles ice_or_snow wild_animals end_of_all_limits turn_right_ahead turn_left_ahead ahead_only "
        "straight_or_right straight_or_left keep_right keep_left roundabout end_of_no_passing "
        "end_of_no_passing_over_3.5_t"
    ),
    "fashion_mnist": _words("T-shirt trouser pullover dress coat sandal shirt sneaker bag ankle_boot"),
    "mnist": _words("0 1 2 3 4 5 6 7 8 9"),
}


def imagenet_classes() -> tuple[str, ...]:
    """The 1000 names of ImageNet in the order of the sorted WordNet ids, as torchvision has them."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])

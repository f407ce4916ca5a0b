"""From trained weights to an artifact folder that ``sparta_hub.load`` reads."""

from collections.abc import Mapping

from torch import Tensor, nn

from sparta_hub.activations import find_family
from sparta_hub.hosts import create_host, default_cfgs
from sparta_hub.hub import info
from sparta_hub.site_search import sites
from sparta_hub.spec import ActivationSpec, Origin, SiteSpec
from sparta_hub.surgery import eject, inject, state_of
from training.config import TrainConfig
from training.errors import ConfigError


def trained_network(config: TrainConfig, weights: Mapping[str, Tensor], *, num_classes: int, size: int) -> nn.Module:
    """The network of a run with its trained weights; its activation set says where it was trained.

    A ReLU twin gets the family ``relu`` at its placement, so that it can be kept and compared in the same form.

    Args:
        config: of the run.
        weights: state of the whole network.
        num_classes: of its head.
        size: height and width of its images.

    Raises:
        ConfigError: the weights are those of another network.
    """
    stem = "3x3" if config.host in default_cfgs else "timm"
    origin = Origin(config.host, num_classes, size, stem, config.dataset, str(config.threat))
    if config.activation:
        spec = info(config.activation).spec
        family, arguments, placement = spec.family, spec.arguments, spec.placement
    else:
        family, placement = config.family, config.placement
        arguments = {**find_family(family).defaults, **config.arguments}
    model = create_host(config.host, num_classes)
    found = sites(model, placement, need_channels=find_family(family).per_channel)
    where = tuple(SiteSpec(site.name, site.channels) for site in found)
    spec = ActivationSpec(family, arguments, placement, where, origin)
    inject(model, spec)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(f"The weights are not those of {config.host} with {family}: {error}") from error
    state = state_of(model)
    inject(eject(model), spec, state=state)  # anew: an origin goes with the weights that are put in with it
    return model.eval()

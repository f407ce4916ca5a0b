"""Data sets by name: arrays, torchvision's files, folders of images, and the small real set inside this package."""

from sparta_hub.data._class_names import CLASSES
from sparta_hub.data._images import SOURCES, Images, Source, Split, data_root, load_bundled, load_images

__all__ = ["CLASSES", "SOURCES", "Images", "Source", "Split", "data_root", "load_bundled", "load_images"]

"""The suggestion of other nets for an image that looks unlike the training images of the net of a request."""

from dataclasses import replace

from app.served_net import ServedNet
from app.served_nets import ServedNets
from model.inputs.net_input import NetInput
from model.inputs.novelty_notice import is_familiar, is_novelty_notice


def suggest_nets(nets: ServedNets, net: ServedNet, given: NetInput) -> NetInput:
    """Adds a notice that lists the other nets whose training images look like the pages, if those of `net` do not."""
    if not any(map(is_novelty_notice, given.notices)):
        return given
    names = [other.description.name for other in nets if other is not net and _knows(other, given)]
    if not names:
        return given
    return replace(given, notices=(*given.notices, f"Nets that were trained on such images: {', '.join(names)}."))


def _knows(net: ServedNet, given: NetInput) -> bool:
    known, preprocessing = net.description.known_images, net.description.preprocessing
    return known is not None and is_familiar(known, preprocessing, given.pages, given.bits)

"""The texts around the pictures, in HTML."""

TITLE = "SPARTA: watch an attack being denoised"

INTRO = """<h1>Watch an attack being denoised</h1>
<p>An attack adds to an image what hardly anybody sees, so that a network sees something else. <b>SPARTA</b> is an
activation function that multiplies its rectified maps by an attention of its own; trained under attack, it is meant
to take out of the maps what the attack put in. Whether it does so on this image is measured below, beside the same
network with plain ReLU where there is one.</p>"""

ABOUT = """
<p>A research demo, not a guarantee. These networks were trained on small images against attacks of up to 8/255; one
that withstands PGD here may fall to another attack, and none of this certifies anything. Each network is attacked on
its own, with full knowledge of its weights (white box), by PGD from one random start. Uploads are cut to a square,
shrunk to the size that the network knows (32 × 32), and deleted within two hours. The networks know ten classes and
call everything one of them.</p>
<p>Code: SPARTA Hub, Apache-2.0, not on PyPI yet, an independent implementation of Guo et al.,
<a href="https://arxiv.org/abs/2105.08269">arXiv:2105.08269</a>. Examples: the first CIFAR-10 test image of each
class (Krizhevsky 2009, <a href="https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf">Learning Multiple
Layers of Features from Tiny Images</a>).</p>"""

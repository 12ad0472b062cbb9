"""Time a full training step of published networks beside Keras and PyTorch.

    python benchmarks/train_step.py [--networks resnet50 vgg16] [--quick] [--json]

Forward, backward and Adam on every parameter, batch norms on the batch's statistics, float32, random images that are
in memory already (`benchmarks/networks.py` says how each program is built). Each program is a process, asked for a
step in turns; a figure is the median of its steps, `ratio` the fastest peer's time over tlx's. `limit` is what the
FLOPs of the network, as it is written, would allow at the speed of products of large matrices.
"""

import sys

import tyro
from networks import Compared, compare

if __name__ == "__main__":
    compare("train", tyro.cli(Compared, args=sys.argv[1:]))

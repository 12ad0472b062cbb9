"""Take the first training step of a new head on a frozen ResNet50 at 32x32, and say when it is done.

    python benchmarks/first_step.py PROGRAM

is one process of `benchmarks/startup.py`: it imports a program's libraries, builds the network with random weights
(tlx's are drawn with NumPy, for in a transfer they come from a file: `networks.tlx_variables`), and trains for one
epoch of one batch of 32 random images, the way that people begin: `tlx.fit`, Keras's `fit`, a step of PyTorch's. It
then says so and ends at once.
"""

import os
import sys

import numpy as np
from networks import CLASSES, TLX, import_keras, keras_model, tlx_phase, tlx_variables, torch_program

NETWORK, SIZE, SIDE = "resnet50", 32, 32


def by_tlx() -> None:
    import tlx
    from tlx.data import ArraySource
    from tlx.images import Preprocess
    from tlx.models import ModelConfig, build_model

    tlx.devices.enable_compilation_cache()
    config = ModelConfig(TLX[NETWORK], CLASSES, (SIDE, SIDE, 3))
    model, variables = build_model(config), tlx_variables(config)
    recipe = (tlx_phase(NETWORK, model, variables, "head"),)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (SIZE, SIDE, SIDE, 3), dtype=np.uint8)
    source = ArraySource(images, random.integers(0, CLASSES, SIZE).astype(np.int32))
    preprocess = Preprocess(SIDE, SIDE, 3, scale=1 / 127.5, mean=(1.0,) * 3)
    tlx.fit(model, variables, recipe, source, tlx.TrainOptions(batch_size=SIZE, preprocess=preprocess))


def by_keras(backend: str) -> None:
    keras = import_keras(backend)
    model = keras_model(keras, NETWORK, "head", SIDE, CLASSES)
    random = np.random.default_rng(0)
    images = random.standard_normal((SIZE, SIDE, SIDE, 3), np.float32)
    model.fit(images, random.integers(0, CLASSES, SIZE), SIZE, epochs=1, verbose=0)


def by_torch() -> None:
    made = torch_program(NETWORK, "head", SIZE, SIDE)
    made.step()
    made.wait()


if __name__ == "__main__":
    makers = {
        "tlx": by_tlx,
        "keras-jax": lambda: by_keras("jax"),
        "keras-tensorflow": lambda: by_keras("tensorflow"),
        "torch": by_torch,
    }
    try:
        makers[sys.argv[1]]()
    except ImportError as error:
        print(f"absent: {error}", flush=True)
    else:
        print("done", flush=True)
    os._exit(0)  # what libraries do at their end is nobody's wait

"""A pretrained model: weights with the preprocessing, the classes and the card that belong to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tlx.data.preprocess import Preprocess
from tlx.errors import ConfigError
from tlx.models.classifier import Classifier
from tlx.models.head import Pool
from tlx.models.registry import ARCHITECTURES, ModelConfig, build_model, init_variables
from tlx.tree.paths import Tree
from tlx.tree.surgery import replace_head


@dataclass(frozen=True)
class Pretrained:
    """A model as it is loaded, transferred and saved.

    `variables` is its whole tree, `preprocess` turns pictures into its inputs, `classes` names its outputs in order,
    `card` says where the weights come from (architecture, data, accuracy, licence, command).
    """

    name: str
    config: ModelConfig
    variables: Tree
    preprocess: Preprocess
    classes: tuple[str, ...]
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.classes) != self.config.classes:
            raise ConfigError(f"{self.name}: {len(self.classes)} class names for {self.config.classes} outputs")
        made = (self.preprocess.height, self.preprocess.width, self.preprocess.channels)
        if made != self.config.input_shape:
            raise ConfigError(
                f"{self.name}: preprocessing makes pictures of {made}, the model takes {self.config.input_shape}"
            )

    @property
    def model(self) -> Classifier:
        """The Linen module whose variables these are."""
        return build_model(self.config)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of the base that own parameters, first to last."""
        own = self.variables["params"]["base"]
        return tuple(stage for stage in self.model.base.stage_names if stage in own)

    def with_head(
        self,
        classes: tuple[str, ...],
        *,
        hidden: tuple[int, ...] = (),
        pool: Pool | None = None,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> "Pretrained":
        """Return the same base with a fresh head for other classes; `pool` None takes the architecture's own.

        >>> import tlx
        >>> letters = tlx.load("mlp-mnist").with_head(tuple("ABCDEFGHIJ"))
        >>> letters.variables["params"]["head"]["logits"]["kernel"].shape
        (4, 10)
        """
        config = replace(
            self.config,
            classes=len(tuple(classes)),
            hidden=hidden,
            pool=pool or ARCHITECTURES[self.config.architecture].pool,
            dropout=dropout,
        )
        variables = replace_head(self.variables, init_variables(config, seed))
        return replace(self, config=config, variables=variables, classes=tuple(classes), card={})

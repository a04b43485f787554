"""Learn how long a deployment's tokens are from what it reports, for what it does not report.

Every model cuts text in its own way, and bodies hold more than text: by bytes alone a count may be
off by half. What a deployment reported of other answers says how many tokens its bytes are.
"""

from msgspec import Struct, field
from typing_extensions import override

from llm_gateway.types import Deployment, Usage

BYTES_PER_TOKEN = 4  # of whom nothing is known
ENOUGH = 16  # answers; until then what more of them reported is the better guess
REMEMBERED = 2_000


class Ratio(Struct):
    """How many tokens so many bytes are, of outputs; what is long ago counts less.

    Broken answers are shorter than those it learned from: without anything fixed it fits them too.
    """

    count: float = 0.0
    bytes: float = 0.0
    tokens: float = 0.0

    def learn(self, size: int, tokens: int) -> None:
        """Take what was reported; no tokenizer makes nothing of text, or more tokens than bytes."""
        if 0 < tokens <= size:
            if self.count >= REMEMBERED:
                self._fade()
            self._add(size, tokens)

    def tokens_of(self, size: int) -> int:
        """Return our count of the tokens of so many bytes."""
        if not self.count or not size:
            return -(-size // BYTES_PER_TOKEN)
        return min(size, max(1, round(self._tokens_of(size))))

    def _add(self, size: int, tokens: int) -> None:
        self.count += 1
        self.bytes += size
        self.tokens += tokens

    def _fade(self) -> None:
        self.count, self.bytes, self.tokens = self.count / 2, self.bytes / 2, self.tokens / 2

    def _tokens_of(self, size: int) -> float:
        return size * self.tokens / self.bytes


class Line(Ratio):
    """The same of inputs, with what every body holds beside its text.

    A line is laid through them by least squares: tokens = fixed + slope · bytes.
    """

    squares: float = 0.0
    products: float = 0.0

    @override
    def _add(self, size: int, tokens: int) -> None:
        super()._add(size, tokens)
        self.squares += size * size
        self.products += size * tokens

    @override
    def _fade(self) -> None:
        super()._fade()
        self.squares, self.products = self.squares / 2, self.products / 2

    @override
    def _tokens_of(self, size: int) -> float:
        spread = self.count * self.squares - self.bytes * self.bytes
        slope = (self.count * self.products - self.bytes * self.tokens) / spread if spread else 0.0
        if self.count < ENOUGH or slope <= 0:  # too few, or too much alike, for a line
            return super()._tokens_of(size)
        return (self.tokens - slope * self.bytes) / self.count + slope * size


class Scale(Struct, frozen=True):
    """What tokens are in bytes of a request's body and of an answer's output."""

    input: Line = field(default_factory=Line)
    output: Ratio = field(default_factory=Ratio)


class Scales:
    """The scales of one process: of each deployment, of each provider, and of all."""

    def __init__(self) -> None:
        self._all = Scale()
        self._of_deployment: dict[int, Scale] = {}
        self._of_provider: dict[int, Scale] = {}

    def of(self, deployment: Deployment) -> Scale:
        """Return the narrowest scale that enough answers have told: their bodies are alike."""
        for scale in (
            self._of_deployment.get(deployment.id),
            self._of_provider.get(deployment.provider.id),
        ):
            if scale is not None and scale.input.count >= ENOUGH:
                return scale
        return self._all

    def learn(
        self, deployment: Deployment, input_bytes: int, output_bytes: int, usage: Usage
    ) -> None:
        """Take one answer whose usage was reported, and whose body was text alone."""
        # What was thought and not said has no bytes.
        said = usage.output - usage.reasoning
        for scale in (
            self._of_deployment.setdefault(deployment.id, Scale()),
            self._of_provider.setdefault(deployment.provider.id, Scale()),
            self._all,
        ):
            scale.input.learn(input_bytes, usage.input)
            scale.output.learn(output_bytes, said)


PLAIN = Scale()

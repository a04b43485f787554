"""What a deployment reported of other answers says how many tokens bytes of it are."""

import random

from llm_gateway.service.scales import BYTES_PER_TOKEN, ENOUGH, REMEMBERED, Scales
from llm_gateway.types import Deployment, ProviderConfig, Usage


def deployment(number: int, provider: int) -> Deployment:
    at = ProviderConfig(id=provider, name="p", kind="mock", base_url="http://p.test", adapters={})
    return Deployment(id=number, name="m", provider=at, upstream_name="m")


OURS, BESIDE, OTHERS = deployment(1, 1), deployment(2, 1), deployment(3, 2)
UNKNOWN = deployment(4, 3)
FIXED, BYTES_EACH = 12, 6.5


def learnt(answers: int, of: Deployment = OURS) -> Scales:
    """Return scales that saw a template of 12 tokens, and 6.5 bytes a token on average."""
    scales, rng = Scales(), random.Random(1)
    for _ in range(answers):
        said, asked = rng.randint(200, 2000), rng.randint(400, 9000)
        usage = Usage(
            input=FIXED + round(asked / BYTES_EACH),
            output=round(said / BYTES_EACH * rng.uniform(0.9, 1.1)) + 40,
            reasoning=40,
        )
        scales.learn(of, asked, said, usage)
    return scales


def test_who_is_not_known_has_four_bytes_a_token() -> None:
    scale = Scales().of(UNKNOWN)
    assert scale.input.tokens_of(4001) == -(-4001 // BYTES_PER_TOKEN)
    assert scale.output.tokens_of(0) == 0


def test_an_input_is_counted_with_what_every_body_holds() -> None:
    counted = learnt(200).of(OURS).input.tokens_of(6500)
    assert abs(counted - (FIXED + 1000)) <= 1


def test_a_broken_answer_is_counted_as_well_as_a_whole_one() -> None:
    output = learnt(2 * REMEMBERED).of(OURS).output
    for tokens in (4, 40, 4000):
        assert abs(output.tokens_of(round(tokens * BYTES_EACH)) - tokens) <= 1 + tokens / 100


def test_what_all_of_them_reported_is_the_guess_until_one_has_told_enough() -> None:
    scales = learnt(200, OTHERS)
    for _ in range(ENOUGH - 1):
        scales.learn(OURS, 1000, 1000, Usage(input=500, output=500))
    assert scales.of(OURS) is scales.of(UNKNOWN)
    scales.learn(OURS, 1000, 1000, Usage(input=500, output=500))
    assert scales.of(OURS).output.tokens_of(100) == 50


def test_another_model_of_the_same_provider_is_the_better_guess() -> None:
    scales = learnt(200, OTHERS)
    for _ in range(ENOUGH):
        scales.learn(BESIDE, 1000, 1000, Usage(input=500, output=500))
    assert scales.of(OURS).output.tokens_of(100) == 50


def test_impossible_reports_teach_nothing() -> None:
    scales = Scales()
    scales.learn(OURS, 100, 100, Usage(input=0, output=101))
    assert scales.of(OURS) == Scales().of(OURS)

"""Writes reference/estimators.md: each option of `latent`, with its formula, paper, class and settings."""

from pathlib import Path
from typing import Any

import mkdocs_gen_files
from hydra.utils import get_class
from latex2mathml.converter import convert
from omegaconf import OmegaConf

from scripts.common.estimator import option_settings

ROOT = Path(__file__).parents[2]
INTRODUCTION = """# Estimators

`latent=NAME` chooses one. The model states its objective f as a function of a sampler; an estimator returns the bound,
(B,) in nats. Its value is a lower bound on log p(x), and its gradient is the estimator's.

In the formulas, ℓ are the logits of a latent, π = softmax(ℓ), z is the draw, g is Gumbel noise, and v is the gradient
that arrives at the draw. `∇ :=` is a backward rule that is not the derivative of the forward pass.

*Unbiased* estimators are tested against the gradient that enumeration gives. *Passes* are runs of the decoder in a
training step; L is the number of stochastic layers, K^N the number of states.

`vq`, `fsq` and `lfq` are no estimators but deterministic codes, to compare with: `model=image_tokenizer` alone takes
them.
"""


def option(name: str, about: dict[str, Any]) -> tuple[str, str]:
    """The row of the table and the section of an option."""
    target = option_settings(name)["_target_"]
    kind = get_class(target)
    paper = "–"
    if about.get("paper"):
        *authors, link = about["paper"]
        paper = f"[{', '.join(map(str, authors))}]({link})"
    unbiased = about.get("unbiased") or ("yes" if kind.unbiased else "")
    row = f"| [`{name}`](#{name}) | {about.get('gradient', '')} | {unbiased} | {about.get('passes', '')} | {paper} |"
    formula = f"{convert(about['formula'], display='block')}\n\n" if about.get("formula") else ""
    settings = (ROOT / "configs" / "latent" / f"{name}.yaml").read_text().rstrip()
    api = f"::: {target}\n    options: {{heading_level: 3, members: false}}\n\n"
    return row, f"## {name} {{ #{name} }}\n\n{paper}\n\n{formula}```yaml\n{settings}\n```\n\n{api}"


def page() -> str:
    known: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(ROOT / "docs/reference/estimators.yaml"))  # type: ignore[assignment]
    listed = [path.stem for path in sorted((ROOT / "configs" / "latent").glob("*.yaml"))]
    names = [*(name for name in known if name in listed), *(name for name in listed if name not in known)]
    rows, sections = zip(*(option(name, known.get(name, {})) for name in names), strict=True)
    head = "| `latent=` | how the gradient is estimated | unbiased | passes | paper |\n|---|---|---|---|---|"
    return "\n".join([INTRODUCTION, head, *rows, "", *sections])


with mkdocs_gen_files.open("reference/estimators.md", "w") as file:
    file.write(page())

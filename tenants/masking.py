"""Mask the shapes of known secrets in text: a last net under every sink, not the control."""

import re

SHAPES = re.compile(
    r"""(?P<keep>\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{8,}   # authorization values
      | (?P<url>://[^/\s:@]+:)[^/\s@]+(?=@)                       # passwords in addresses
      | (?P<query>[?&][\w-]*key=)[^\s&"]+                          # keys in a query, never accepted
      | (?P<link>/(?:invitation|reset)/[\w-]+/)(?!set-password)[\w-]+  # what opens by a link
      | \b(?:mob_|sk-|gsk_|xai-|hf_|AIza|AKIA|ASIA|gh[oprsu]_|github_pat_|glpat-|npm_|pypi-
            |[rs]k_(?:live|test)_|xox[abeoprs]-)[A-Za-z0-9_-]{12,}
    """,
    re.VERBOSE,
)


def mask(text: str) -> str:
    """Return `text` with what looks like a secret replaced by its last four characters."""
    return SHAPES.sub(_masked, text)


def _masked(match: re.Match[str]) -> str:
    if whole := match["url"] or match["query"] or match["link"]:
        return f"{whole}…"
    return f"{match['keep'] or ''}…{match[0][-4:]}"

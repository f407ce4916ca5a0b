"""What there is: short names of this installation, and everything on the Hub that says it is ours."""

from itertools import islice

from sparta_hub.errors import HubError
from sparta_hub.hub.failures import explain, failures, promptly
from sparta_hub.zoo import registry


def list_models(*, hub: bool = False, author: str | None = None) -> list[str]:
    """Names that ``load`` takes.

    Args:
        hub: ask the Hub for all repositories with ``library_name: sparta-hub`` on their card; anybody may write that,
            so what is there is checked when it is loaded. Else the short names of this installation, offline.
        author: on the Hub, only those of this user or organisation.

    Raises:
        HubError: the Hub cannot be reached or refuses, or is not asked, but ``author`` is given.
    """
    if not hub:
        if author is not None:
            raise HubError(f"author is {author!r} without hub=True; only the Hub knows authors.")
        return list(registry())
    import huggingface_hub as hf

    try:
        found = iter(hf.HfApi().list_models(filter="sparta-hub", author=author))
        first = promptly(lambda: list(islice(found, 1)))  # the request is sent with it
        return [model.id for model in (*first, *found)]
    except failures() as error:
        raise explain(error, "The list of models", doing="fetched") from None

"""Find the projector (mmproj) of a model on the Hugging Face Hub, which comes with the model."""

from msgspec.structs import replace

from pilotlight.models.fetch.address import Address, Origin
from pilotlight.models.fetch.sources import HubSource, Source
from pilotlight_backend.projectors import best_projector, is_projector, projector_name


def may_have_one(address: Address) -> bool:
    """Return whether *address* is one GGUF model, or a part of one, of a repository of the Hub."""
    is_model = address.last.lower().endswith(".gguf") and not is_projector(address.last)
    return address.scheme == "hf" and is_model


async def with_projector(origin: Origin, source: Source) -> list[Origin]:
    """Return what to fetch for *origin* of *source*, the model last.

    A model in the models folder gets its projector beside it, under a name that says so. The
    projector of a split model goes into its folder. llama.cpp's `-hf` too looks for it beside the
    model and in the folders above (`find_best_mmproj`).
    """
    if not isinstance(source, HubSource):
        return [origin]
    model = origin.address.last
    found = await source.near(lambda names: best_projector(model, names, one_model=True))
    if found is None:
        return [origin]
    if origin.address.is_split:
        return [replace(origin, address=replace(origin.address, also=(found.url,)))]
    beside = origin.root.with_name(projector_name(origin.root.name, found.last))
    return [Origin(found, beside), origin]

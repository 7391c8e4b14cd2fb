"""Bundles in BentoML's model store: each goes in once, under a tag made of its own content."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # read when a model is stored

import bentoml
from bentoml.exceptions import BentoMLException, NotFound

from annotations.errors import KhabarError
from serving.bundle import HASH_DIGITS, MANIFEST, Bundle, BundleError

ALIAS = "khabar-bundle"  # how a Bento names the bundle that it was built with
MAX_NAME = 63  # of a tag's name, and of its version


class StoreError(KhabarError):
    """A model store that does not hold what it should."""


def bundle_tag(bundle: Bundle) -> bentoml.Tag:
    """`name:version-hash` of a bundle."""
    version = tag_part(bundle.version, MAX_NAME - HASH_DIGITS - 1)
    return bentoml.Tag(tag_part(bundle.name, MAX_NAME), f"{version}-{bundle.digest[:HASH_DIGITS]}")


def tag_part(text: str, longest: int) -> str:
    """What of a name may stand in a tag; a name of other letters becomes "bundle"."""
    kept = re.sub(r"[^a-z0-9._-]+", "-", text.lower())[:longest]
    return kept.strip("-._") or "bundle"


def store_bundle(bundle: Bundle) -> bentoml.Tag:
    """The tag of a bundle that is now in the model store; nothing there is ever overwritten."""
    tag = bundle_tag(bundle)
    try:
        _check_stored(tag, bundle)
    except NotFound:
        _store(tag, bundle)
    return tag


def _store(tag: bentoml.Tag, bundle: Bundle) -> None:
    labels = {"bundle": bundle.name, "version": bundle.version}
    heads = {head.name: head.kind for head in bundle.manifest.heads}
    metadata = {"encoder": bundle.manifest.encoder, "heads": heads}
    try:
        with bentoml.models.create(tag, labels=labels, metadata=metadata) as model:
            folder = Path(model.path)
            for name in (*bundle.manifest.files, MANIFEST):
                shutil.copyfile(bundle.folder / name, folder / name)
            Bundle.load(folder)  # what was copied is whole, too; a fault here stores nothing
    except BentoMLException as error:
        raise StoreError(f"{bundle.folder} cannot be stored as {tag}: {error}") from None


def _check_stored(tag: bentoml.Tag, bundle: Bundle) -> None:
    try:
        folder = Path(bentoml.models.get(tag).path)
        whole = bundle_tag(Bundle.load(folder)) == tag
        found = "another bundle" if not whole else None
    except NotFound:
        raise
    except (BentoMLException, BundleError) as error:
        found = str(error)
    if found is not None:
        raise StoreError(
            f"model store: {tag} should be {bundle.folder} but is damaged: {found}; remove it "
            f"with `bentoml models delete {tag}` and build again"
        )


def bento_bundle(bento: bentoml.Bento | None) -> Path | None:
    """The folder of the bundle that a Bento was built with; None outside of a Bento."""
    models = bento.info.models if bento is not None else []
    for model in models:
        if model.alias == ALIAS:
            return Path(bentoml.models.get(model.tag).path)
    return None

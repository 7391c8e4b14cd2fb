"""The masked-language head of an encoder: that of its family, or a fresh one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, ModernBertConfig, ModernBertForMaskedLM

from tests.small_encoders import maskable_encoder  # noqa: F401 - a fixture
from training.encoders.language_model import MaskedLanguageModel
from training.examples import IGNORED


def labels_of(ids: torch.Tensor) -> torch.Tensor:
    chosen = torch.rand(ids.shape, generator=torch.Generator().manual_seed(1)) < 0.2
    return torch.where(chosen, ids, IGNORED)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_the_loss_is_that_of_the_model_of_the_family(tmp_path: Path, family: str) -> None:
    sizes = {"vocab_size": 90, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "pad_token_id": 0}
    if family == "bert":
        whole: Any = BertForMaskedLM(BertConfig(**sizes))
    else:
        whole = ModernBertForMaskedLM(ModernBertConfig(**sizes, sep_token_id=1, cls_token_id=2))
    whole.save_pretrained(tmp_path)
    ids = torch.randint(5, 90, (3, 20), generator=torch.Generator().manual_seed(0))
    labels = labels_of(ids)
    model = MaskedLanguageModel(tmp_path).eval()
    assert not model.fresh_head
    expected = whole.eval()(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
    torch.testing.assert_close(model(ids, labels)["loss"], expected, rtol=1e-5, atol=1e-5)


def test_a_fresh_head_decodes_by_the_embeddings(source: Path) -> None:
    model = MaskedLanguageModel(source)
    assert model.fresh_head
    embeddings = model.encoder.get_input_embeddings().weight
    assert model.model.get_output_embeddings().weight is embeddings
    own = {id(weight) for weight in model.head_weights()}
    assert id(embeddings) not in own
    assert own | {id(w) for w in model.encoder.parameters()} == {id(w) for w in model.parameters()}
    pointers = [weight.data_ptr() for weight in model.state_dict().values()]
    assert len(set(pointers)) == len(pointers)  # safetensors takes no shared ones

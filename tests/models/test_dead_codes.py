"""Codes that nothing is near to, moved to where features are."""

import lightning.pytorch as pl
import pytest
import torch

from discrete_latents.errors import UserError
from discrete_latents.models.dead_codes import DEAD, revived
from tests.models.test_image_tokenizer import built


def test_dead_codes_alone_move_each_to_another_vector():
    torch.manual_seed(0)
    codebook, vectors = torch.randn(6, 2), torch.randn(9, 2)
    share = torch.tensor([0.4, 0.0, 0.3, 1e-4, 0.2, 0.1 - 1e-4])
    found = revived(codebook, share, vectors)
    moved = (found != codebook).any(-1)
    assert moved.tolist() == [False, True, False, True, False, False]
    places = [(vectors == code).all(-1).nonzero().item() for code in found[moved]]
    assert len(set(places)) == 2


def test_where_vectors_are_few_the_deadest_codes_move():
    codebook, share = torch.randn(4, 2), torch.tensor([1.0, 1e-3, 0.0, 1e-4])
    found = revived(codebook, share, torch.zeros(2, 2))
    assert (found == 0).all(-1).tolist() == [False, False, True, True]


def test_codes_in_even_use_stay():
    codebook = torch.randn(5, 3)
    assert torch.equal(revived(codebook, torch.full((5,), 0.2), torch.zeros(7, 3)), codebook)


def test_a_tokenizer_has_no_dead_code_after_a_revival():
    model, data = built("latent=gumbel_softmax", "model.num_classes=40", "model.revive_every=3")
    model.trainer = pl.Trainer(accelerator="cpu", logger=False)
    x, _ = data.first("train", 50)
    with torch.no_grad():
        model.codebook[:25] = 1e3
        model.revive(x)
        share = model.encode(x).softmax(-1).mean((0, 1))
    assert len(model.codebook.unique(dim=0)) == 40
    assert share.min() > DEAD / 40


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.revive_every=0"], "revive_every must be a whole number of at least 1, got 0"),
        (["model.revive_every=5", "model.logits=free"], "revive_every must be null without logits by distance, got 5"),
    ],
)
def test_what_cannot_be_revived_is_one_line(words, said):
    with pytest.raises(UserError, match=said):
        built(*words)


def test_a_quantiser_says_what_it_does_not_use(caplog):
    model, _ = built("latent=fsq", "latent.levels=[3]", "beta=tokenizer", "model.revive_every=5")
    assert "beta and revive_every are not used: FSQ is a deterministic code with no KL" in caplog.text
    assert model.revive_every is None

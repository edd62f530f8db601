"""Every architecture with an adapter, as a tiny random model: gates, compaction, batches, checkpoints."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AutoTokenizer,
    BertConfig,
    BertTokenizer,
    DebertaV2Config,
    DebertaV2Tokenizer,
    DistilBertConfig,
    ElectraConfig,
    LlamaConfig,
    LlamaTokenizer,
    ModernBertConfig,
    MPNetConfig,
    MPNetTokenizer,
    RobertaConfig,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
)
from transformers.models.auto import AutoModelForSequenceClassification

from lottery_ray.errors import InputError
from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import Mask
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.inputs import language
from lottery_ray.inputs import models as inputs
from lottery_ray.inputs.architectures import ADAPTERS
from lottery_ray.inputs.encoding import Encoded, encode
from lottery_ray.inputs.models import FolderModel, model_sha256, named_model
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.networks import weights as models
from lottery_ray.networks.batches import pack
from lottery_ray.networks.export import export_network
from lottery_ray.networks.network import Gates, Network, full_gates
from lottery_ray.networks.packing import PACKED
from lottery_ray.networks.pruning import prunable, prune, weights_kept
from lottery_ray.networks.weights import initial_network, load_network, save_network
from lottery_ray.training.loop import train
from lottery_ray.training.scoring import example_losses, predict
from lottery_ray.trial.process import prepare
from tests.folders import rows
from tests.networks.test_pruning import magnitude_mask, padded

HEADS = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1]], bool)
MLPS = np.array([1, 0, 1], bool)
MASK = masks.structured_mask(HEADS, MLPS)
FULL = np.ones((3, 4), bool), np.ones(3, bool)
MRPC = TASKS["mrpc"]
CPU = torch.device("cpu")

SIZES = {
    "vocab_size": 140,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
DEBERTA = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8}
DEBERTA |= {"norm_rel_ebd": "layer_norm", "position_biased_input": False, "pooler_dropout": 0.0}
MODERNBERT = {"local_attention": 12, "pad_token_id": 0, "classifier_pooling": "mean"}
CONFIGS: dict[str, Callable[[], Any]] = {
    "bert": lambda: BertConfig(**SIZES, **NO_DROPOUT),
    "roberta": lambda: RobertaConfig(**SIZES, **NO_DROPOUT, type_vocab_size=1),
    "xlm-roberta": lambda: XLMRobertaConfig(**SIZES, **NO_DROPOUT, type_vocab_size=1),
    "electra": lambda: ElectraConfig(**SIZES, **NO_DROPOUT, embedding_size=16),
    "distilbert": lambda: DistilBertConfig(
        vocab_size=140, dim=32, n_layers=3, n_heads=4, hidden_dim=48, max_position_embeddings=64,
        dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0,
    ),
    "mpnet": lambda: MPNetConfig(**SIZES, **NO_DROPOUT),
    "deberta-v2": lambda: DebertaV2Config(**SIZES, **NO_DROPOUT, **DEBERTA, type_vocab_size=2),
    "deberta-v3": lambda: DebertaV2Config(
        **SIZES, **NO_DROPOUT, **DEBERTA, type_vocab_size=0, share_att_key=True
    ),
    "deberta-conv": lambda: DebertaV2Config(
        **SIZES, **NO_DROPOUT, **DEBERTA, type_vocab_size=2, conv_kernel_size=3
    ),
    "modernbert": lambda: ModernBertConfig(**SIZES, **MODERNBERT),
    "modernbert-biases": lambda: ModernBertConfig(
        **SIZES, **MODERNBERT | {"classifier_pooling": "cls"}, attention_bias=True, mlp_bias=True
    ),
    "llama": lambda: LlamaConfig(**SIZES),
    "llama-biases": lambda: LlamaConfig(
        **SIZES, pad_token_id=0, attention_bias=True, mlp_bias=True, head_dim=6
    ),
}  # fmt: skip


@pytest.fixture(params=CONFIGS)
def make(request: pytest.FixtureRequest) -> Callable[..., Network]:
    """Makes equal networks with large weights, biases too, so that every part matters."""

    def network(dtype: torch.dtype = torch.float64) -> Network:
        config = CONFIGS[request.param]()
        attention = PACKED if ADAPTERS[config.model_type].packed else None
        model = AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim > 1 or name.endswith("bias"):
                    parameter.normal_(0.0, 0.3, generator=generator)
        return Network(model.to(dtype)).eval()

    return network


Make = Callable[..., Network]


def gates_without(head: tuple[int, int] | None = None, mlp: int | None = None) -> Gates:
    heads, mlps = (part.copy() for part in FULL)
    if head is not None:
        heads[head] = False
    if mlp is not None:
        mlps[mlp] = False
    return full_gates(heads, mlps, CPU)


def test_every_adapter_is_here() -> None:
    assert {CONFIGS[name]().model_type for name in CONFIGS} == set(ADAPTERS)


def plain(network: Network, model: Any, encoded: Encoded, chosen: np.ndarray) -> torch.Tensor:
    """Logits of transformers' own model on the padded batch."""
    batch = padded(encoded, chosen)
    segments = batch.pop("token_type_ids")
    if network.adapter.token_types:
        batch["token_type_ids"] = segments
    batch["input_ids"][batch["attention_mask"] == 0] = model.config.pad_token_id
    logits: torch.Tensor = model(**batch).logits
    return logits


def test_a_batch_gives_what_the_plain_model_gives(make: Make, encoded: Encoded) -> None:
    network = make()
    config: Any = network.model.config
    reference = AutoModelForSequenceClassification.from_config(config.from_dict(config.to_dict()))
    reference = reference.double().eval()
    assert reference.config._attn_implementation in ("sdpa", "eager")
    reference.load_state_dict(network.model.state_dict())
    chosen = np.array([2, 0, 1, 3, 5, 4, 6])
    ours = network(pack(encoded, chosen))
    theirs = plain(network, reference, encoded, chosen)
    assert (ours - theirs).abs().max() < 1e-12 * theirs.abs().max()
    labels = torch.tensor(encoded.labels[chosen])
    for logits in (ours, theirs):
        example_losses(logits, labels, MRPC).sum().backward()
    for (name, p), q in zip(network.model.named_parameters(), reference.parameters(), strict=True):
        if q.grad is None or p.grad is None:
            assert q.grad is p.grad is None, name
        else:
            assert torch.allclose(p.grad, q.grad, atol=1e-6 * float(q.grad.abs().max() + 1e-3)), name


def test_examples_of_a_batch_do_not_see_each_other(make: Make, encoded: Encoded) -> None:
    network = make()
    together = network(pack(encoded, np.arange(7)))
    for row in range(7):
        assert torch.allclose(network(pack(encoded, np.array([row])))[0], together[row], atol=1e-11)


def test_every_gate_changes_the_output(make: Make, encoded: Encoded) -> None:
    network, batch = make(), pack(encoded, np.arange(7))
    assert network.shape == (3, 4)
    full = network(batch)
    assert torch.equal(network(batch, gates_without()), full)
    for index in np.ndindex(3, 4):
        assert (network(batch, gates_without(head=index)) - full).abs().max() > 1e-4, index
    for layer in range(3):
        assert (network(batch, gates_without(mlp=layer)) - full).abs().max() > 1e-4, layer


def test_the_gradient_by_gates_is_each_examples_own(make: Make, encoded: Encoded) -> None:
    network, chosen = make().requires_grad_(False), np.array([4, 0, 3, 6])
    batch = pack(encoded, chosen)
    rng = torch.Generator().manual_seed(1)
    shapes = ((4, 3, 4), (4, 3))
    heads, mlps = (torch.rand(shape, generator=rng, dtype=torch.float64) + 0.5 for shape in shapes)
    gates = Gates(heads.requires_grad_(), mlps.requires_grad_())
    loss = network(batch, gates)[:, 0].sum()
    by_head, by_mlp = torch.autograd.grad(loss, (gates.heads, gates.mlps))
    # these two have steps in float32, whatever the model's dtype
    config: Any = network.model.config
    rough = config.model_type in ("modernbert", "llama")
    step, tolerance = (1e-3, 1e-2) if rough else (1e-5, 1e-6)
    for found, gate in ((by_head, heads), (by_mlp, mlps)):
        for place in range(gate[0].numel()):
            moved = torch.zeros_like(gate)
            moved.flatten(1)[:, place] = step
            up, down = (
                network(batch, Gates(heads + move, mlps) if gate is heads else Gates(heads, mlps + move))
                for move in (moved, -moved)
            )
            differences = (up - down)[:, 0] / (2 * step)
            assert torch.allclose(found.flatten(1)[:, place], differences, atol=tolerance)


NONE = np.zeros((3, 4), bool), np.zeros(3, bool)


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(MASK, id="some"),
        pytest.param(masks.structured_mask(NONE[0], FULL[1]), id="no heads"),
        pytest.param(masks.structured_mask(FULL[0], NONE[1]), id="no MLPs"),
        pytest.param(masks.structured_mask(*NONE), id="nothing"),
        pytest.param(masks.structured_mask(*FULL), id="all"),
    ],
)
def test_gated_equals_compacted(make: Make, encoded: Encoded, mask: Mask, tmp_path: Path) -> None:
    gated, compacted = make(), make()
    prune(gated, mask, "gated")
    expected = weights_kept(compacted, mask)
    prune(compacted, mask, "compacted")
    batch = pack(encoded, np.arange(7))
    assert torch.allclose(gated(batch), compacted(batch), atol=1e-11)
    left = sum(p.numel() for _, p in encoder_linears(compacted))
    assert {"kept": left, "of": sum(p.numel() for _, p in encoder_linears(gated))} == expected


def test_gated_and_compacted_stay_equal_through_training(make: Make, encoded: Encoded) -> None:
    # one epoch of three steps
    recipe = Recipe(epochs=1, batch_size=3, learning_rate=1e-3, warmup=0.2)
    logits = {}
    for layout in ("gated", "compacted"):
        network = make()
        prune(network, MASK, layout)
        accelerator = prepare(Recipe(), cpu=True)
        before = predict(network, encoded, accelerator)
        train(network, encoded, MRPC, 1, recipe, accelerator)
        logits[layout] = predict(network, encoded, accelerator)
        assert np.abs(logits[layout] - before).max() > 1e-3
    assert np.abs(logits["gated"] - logits["compacted"]).max() < 1e-5


def encoder_linears(network: Network) -> Iterator[tuple[str, nn.Parameter]]:
    """The weights and biases of the linear modules in the encoder's layers, wherever they are."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear) and f".{network.adapter.layers}." in f".{name}.":
            yield from ((f"{name}.{kind}", parameter) for kind, parameter in module.named_parameters())


def test_the_magnitude_pool_is_the_encoders_linear_weights(make: Make) -> None:
    network = make()
    pool = prunable(network)
    expected = dict(encoder_linears(network))
    assert pool.keys() == expected.keys()
    assert all(pool[name] is parameter for name, parameter in expected.items())
    layers = [part.layer for part in magnitude_mask(network, 0.5)]
    assert layers == sorted(layers)
    assert [layers.count(layer) for layer in range(3)] == [len(pool) // 3] * 3


@pytest.mark.parametrize("layout", ["compacted", "gated", "weights"])
def test_a_pruned_network_is_saved_loaded_and_exported(
    make: Make, encoded: Encoded, tmp_path: Path, layout: Any
) -> None:
    network = make(torch.float32)
    mask = magnitude_mask(network, 0.3) if layout == "weights" else MASK
    prune(network, mask, layout)
    chosen = np.arange(7)
    batch = pack(encoded, chosen)
    expected = network(batch)

    save_network(network, tmp_path, mask)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "mask.arrow"}
    loaded = load_network(tmp_path).eval()
    assert torch.equal(loaded(batch), expected)
    assert (loaded.gates is None) == (network.gates is None)
    assert loaded.weight_masks.keys() == network.weight_masks.keys()
    assert all(torch.equal(kept, network.weight_masks[name]) for name, kept in loaded.weight_masks.items())

    for number, source in enumerate((network, loaded)):
        folder = tmp_path / str(number)
        export_network(source, mask, folder)
        assert "lottery_ray" not in (folder / "config.json").read_text()
        exported = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        logits = plain(network, exported, encoded, chosen)
        assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()
    zeros = sum(int((p == 0).sum()) for _, p in encoder_linears(Network(exported)))
    kept = weights_kept(make(), mask)
    assert zeros >= kept["of"] - kept["kept"]


def test_a_whole_network_is_saved_and_loaded(make: Make, encoded: Encoded, tmp_path: Path) -> None:
    network, batch = make(torch.float32), pack(encoded, np.arange(7))
    network.save(tmp_path)
    assert "lottery_ray" not in (tmp_path / "config.json").read_text()
    inputs._check_architecture("it", tmp_path / "config.json", 32)
    assert torch.equal(load_network(tmp_path).eval()(batch), network(batch))
    initial = initial_network(tmp_path, MRPC, 1, "pretrained").eval()
    assert torch.equal(initial(batch), network(batch))


def test_a_frozen_encoder_trains_the_head_alone(make: Make, encoded: Encoded) -> None:
    network = make()
    models.freeze_encoder(network)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    train(network, encoded, MRPC, 1, Recipe(epochs=1, batch_size=3), prepare(Recipe(), cpu=True))
    changed = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    head = tuple(f"model.{name}." for name in network.adapter.head)
    assert changed == {name for name in before if name.startswith(head)}
    body = {name for name in before if name.startswith(f"model.{network.model.base_model_prefix}.")}
    # only BERT's pooler is within the body
    assert changed & body == {name for name in body if ".pooler." in name}


LETTERS = list("abcdefghijklmnopqrstuvwxyz0123456789.")


def pieces(*special: str) -> dict[str, int]:
    return {piece: number for number, piece in enumerate([*special, "\u2581", "\u0120", *LETTERS])}


def scores(*special: str) -> list[tuple[str, float]]:
    return [(piece, 0.0) for piece in pieces(*special)]


# of each kind that these architectures have: word pieces, byte pairs, sentence pieces, with and without
# segments
TOKENIZERS: dict[str, Callable[[], Any]] = {
    "bert": lambda: BertTokenizer(vocab=pieces("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")),
    "roberta": lambda: RobertaTokenizer(vocab=pieces("<s>", "<pad>", "</s>", "<unk>", "<mask>"), merges=[]),
    "xlm-roberta": lambda: XLMRobertaTokenizer(vocab=scores("<s>", "<pad>", "</s>", "<unk>")),
    "mpnet": lambda: MPNetTokenizer(vocab=pieces("<s>", "<pad>", "</s>", "[UNK]", "<mask>")),
    "deberta-v2": lambda: DebertaV2Tokenizer(vocab=scores("[PAD]", "[CLS]", "[SEP]", "[UNK]")),
    "llama": lambda: LlamaTokenizer(vocab=pieces("<unk>", "<s>", "</s>"), merges=[]),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_folder_with_its_own_tokenizer_works(name: str, tmp_path: Path) -> None:
    AutoModelForSequenceClassification.from_config(CONFIGS[name]()).save_pretrained(tmp_path)
    TOKENIZERS[name]().save_pretrained(tmp_path)
    found = named_model(str(tmp_path), 32, {})
    assert found == FolderModel(model_sha256(tmp_path))
    network = initial_network(tmp_path, MRPC, 1, "pretrained").eval()
    encoded = encode(rows(MRPC, 6), MRPC, AutoTokenizer.from_pretrained(tmp_path), 40)
    assert predict(network, encoded, prepare(Recipe(), cpu=True)).shape == (6, 2)


@pytest.mark.parametrize("name", ["spiece.model", "sentencepiece.bpe.model", "spm.model", "tokenizer.model"])
def test_a_sentencepiece_file_is_part_of_a_models_identity(name: str, tmp_path: Path) -> None:
    before = model_sha256(tmp_path)
    (tmp_path / name).write_bytes(b"pieces")
    assert model_sha256(tmp_path) != before


REFUSALS: dict[str, tuple[Any, str]] = {
    "albert": (AlbertConfig(), "one set of weights serves every layer"),
    "grouped-query attention": (
        LlamaConfig(**SIZES, num_key_value_heads=2),
        "grouped-query attention (num_attention_heads 4, num_key_value_heads 2)",
    ),
    "no padding": (LlamaConfig(**SIZES, eos_token_id=None), "neither pad_token_id nor eos_token_id"),
    "decoder": (BertConfig(**SIZES, is_decoder=True), "is_decoder"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_pruned_is_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    config, reason = REFUSALS[case]
    config.save_pretrained(tmp_path)
    with pytest.raises(InputError) as refusal:
        named_model(str(tmp_path), 128, {})
    assert reason in str(refusal.value)


def test_an_unknown_architecture_is_refused_with_those_that_work(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "hyena"}))
    with pytest.raises(InputError, match=r"'hyena'; these work: .*deberta-v2, modernbert, llama\."):
        named_model(str(tmp_path), 128, {})


def test_a_tokenizer_that_is_a_sentencepiece_model_alone(tmp_path: Path) -> None:
    """As microsoft/deberta-v3-base has it: spm.model, and no tokenizer.json."""
    sentences = iter([f"{one} {two}" for one, two in language.corpus(language.Language(corpus_pairs=300))])
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences,
        model_prefix=str(tmp_path / "spm"),
        vocab_size=70,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        pad_piece="[PAD]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        unk_piece="[UNK]",
        minloglevel=2,
    )
    DebertaV2Config().save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "DebertaV2Tokenizer"}')
    before = model_sha256(tmp_path)
    table = rows(MRPC, 3)
    encoded = encode(table, MRPC, AutoTokenizer.from_pretrained(tmp_path), 128)
    assert len(encoded) == 3
    assert set(encoded.segments) == {0, 1}
    (tmp_path / "spm.model").write_bytes(b"another")
    assert model_sha256(tmp_path) != before, "it is part of the model's identity"

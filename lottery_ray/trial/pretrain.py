"""Make the embedded study's small BERT: masked-language modelling on its own language."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast, get_linear_schedule_with_warmup

from lottery_ray.experiment.nodes import Pretrain
from lottery_ray.inputs import language
from lottery_ray.inputs.encoding import Encoded
from lottery_ray.networks.batches import Packed, pack
from lottery_ray.networks.packing import PACKED
from lottery_ray.streams import generator, seed
from lottery_ray.training.checkpoints import Checkpoints
from lottery_ray.training.curves import Curves
from lottery_ray.trial.work import Work

HELD_OUT_PAIRS = 1_000
IDS = {word: number for number, word in enumerate(language.VOCABULARY)}
FIRST_WORD = len(language.SPECIAL)
# -1 for words that are no verbs
VERB_CLASS = np.array([-1 if (c := language.verb_class(word)) is None else c for word in language.VOCABULARY])
AGREEMENT_FLOOR = 0.95


def pretrain_node(node: Pretrain, work: Work) -> dict[str, Any]:
    """The result of `Pretrain.columns`; leaves the model and its tokenizer."""
    return dict(pretrain(node, work.attempt.folder, work.accelerator, work.checkpoints, Curves(work.run)))


def pretrain(
    node: Pretrain,
    folder: Path,
    accelerator: Accelerator,
    checkpoints: Checkpoints | None = None,
    curves: Curves | None = None,
) -> dict[str, float]:
    """Train, and leave a checkpoint with its tokenizer in `folder`. checkpoints: within the training. curves:
    who is told how it goes.

    Returns the final loss, and the share of held-out verbs, each masked alone, for which the model puts
    the right agreement class first. Raises RuntimeError below 0.95: such a model has not learned the
    language, and nothing that is built on it would mean anything.
    """
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    pairs = _encode(list(language.corpus(node.language)))
    trained = np.arange(len(pairs) - HELD_OUT_PAIRS)
    torch.manual_seed(seed("pretrain", node.seed, "init"))
    model = BertForMaskedLM._from_config(_config(node), attn_implementation=PACKED)
    weights = [{"params": list(model.parameters()), "initial_lr": node.learning_rate}]
    adamw = torch.optim.AdamW(weights, node.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    model, optimizer = accelerator.prepare(model, adamw)
    start = checkpoints.restore(model, optimizer) if checkpoints else 0
    schedule = accelerator.prepare(
        get_linear_schedule_with_warmup(adamw, node.warmup_steps, node.steps, start - 1)
    )
    model.train()
    share = np.where(VERB_CLASS >= 0, node.masked_verbs, node.masked_others)
    share[:FIRST_WORD] = 0
    for step in range(start, node.steps):
        if checkpoints and step > start:
            checkpoints.keep(step, model, optimizer)
        rng = generator("pretrain", node.seed, "batch", step)
        batch = pack(pairs, rng.choice(trained, node.batch_size, replace=False))
        chance = share[batch.input_ids[0].numpy()]
        masked = torch.from_numpy(np.flatnonzero(rng.random(chance.size) < chance))
        loss = _masked_loss(model, batch, masked, accelerator)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if curves:
            curves.add(loss[None])
            curves.after(step, node.steps, schedule.get_last_lr()[0])
        schedule.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    agreement = verb_agreement(model, pairs, np.arange(len(trained), len(pairs)), accelerator)
    if agreement < AGREEMENT_FLOOR:
        raise RuntimeError(
            f"Pre-training has not learned agreement: {agreement:.3f} of held-out verbs right,"
            f" {AGREEMENT_FLOOR} wanted."
        )
    return {"loss": float(loss.detach()), "verb_agreement": agreement}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, and BERT's [CLS] a [SEP] b [SEP]."""
    tokenizer = Tokenizer(WordLevel(IDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(word, IDS[word]) for word in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _config(node: Pretrain) -> BertConfig:
    """Dropout is 0: a network this small has none to spare."""
    return BertConfig(
        vocab_size=len(language.VOCABULARY),
        hidden_size=node.hidden,
        num_hidden_layers=node.layers,
        num_attention_heads=node.heads,
        intermediate_size=node.intermediate,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=node.initializer_range,
        max_position_embeddings=32,
        pad_token_id=IDS["[PAD]"],
        tie_word_embeddings=True,
    )


def _encode(pairs: list[tuple[str, str]]) -> Encoded:
    cls, sep = IDS["[CLS]"], IDS["[SEP]"]
    ids, segments = [], []
    for first, second in pairs:
        a = [cls, *(IDS[word] for word in first.split()), sep]
        b = [*(IDS[word] for word in second.split()), sep]
        ids.append(a + b)
        segments.append([0] * len(a) + [1] * len(b))
    return Encoded(
        np.concatenate(ids, dtype=np.int32),
        np.concatenate(segments, dtype=np.int8),
        np.cumsum([len(row) for row in ids]),
        np.arange(len(pairs)),
        np.zeros(len(pairs)),
    )


def _masked_logits(
    model: BertForMaskedLM, batch: Packed, masked: torch.Tensor, accelerator: Accelerator
) -> torch.Tensor:
    """Logits (masked, vocabulary) at the masked positions alone."""
    input_ids = batch.input_ids.clone()
    input_ids[0, masked] = IDS["[MASK]"]
    device_batch = batch.to(accelerator.device)
    with accelerator.autocast():
        hidden = model.bert(
            input_ids=input_ids.to(accelerator.device),
            token_type_ids=device_batch.token_type_ids,
            position_ids=device_batch.position_ids,
            packing=device_batch,
        ).last_hidden_state
        logits: torch.Tensor = model.cls(hidden[0, masked.to(accelerator.device)])
    return logits


def _masked_loss(
    model: BertForMaskedLM, batch: Packed, masked: torch.Tensor, accelerator: Accelerator
) -> torch.Tensor:
    logits = _masked_logits(model, batch, masked, accelerator)
    return torch.nn.functional.cross_entropy(logits, batch.input_ids[0, masked].to(accelerator.device))


@torch.no_grad()
def verb_agreement(
    model: BertForMaskedLM, pairs: Encoded, rows: np.ndarray, accelerator: Accelerator
) -> float:
    """Share of verbs, one masked in each of these rows, whose agreement class the model puts first."""
    model.eval()
    batch = pack(pairs, rows)
    verbs = np.flatnonzero(VERB_CLASS[batch.input_ids[0].numpy()] >= 0)
    first_of_row = np.unique(batch.example.numpy()[verbs], return_index=True)[1]
    masked = torch.from_numpy(verbs[first_of_row])
    logits = _masked_logits(model, batch, masked, accelerator).float().cpu().numpy()
    logits[:, VERB_CLASS < 0] = -np.inf
    right = VERB_CLASS[batch.input_ids[0, masked].numpy()]
    return float((VERB_CLASS[logits.argmax(1)] == right).mean())

"""Where each architecture keeps what pruning needs. Names only, so that a plan needs no torch."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Adapter:
    """Module names of one Hugging Face sequence classifier.

    layers: the list of encoder layers. Unless it says otherwise, the names after it are relative to a layer.
    attention: the self-attention module, replaced when a layer has no heads left.
    heads: projections whose output rows belong to heads; those that a configuration lacks do not count.
    attention_output: projection whose input columns belong to heads; the head gate is at its input.
    mlp: the MLP, or its first half, its activation included; mlp_inputs: the projections in it.
    mlp_output: the MLP's last projection; the MLP gate is at its output, before the residual sum.
    head: the classification head's modules, relative to the model.
    packed: whether the model runs on packed batches; if not, it runs padded in groups of similar length.
    final: the norm after the last layer, relative to the model, where there is one.
    token_types: whether the model is told the segments.
    positions_after_padding: whether the first position is the padding token's id + 1.
    fused: how many projections each of `heads` holds, one after the other.
    position_bias: the place, among the attention's arguments, of a bias with a slice per head.
    """

    layers: str
    attention: str
    heads: tuple[str, ...]
    attention_output: str
    mlp: str
    mlp_inputs: tuple[str, ...]
    mlp_output: str
    head: tuple[str, ...]
    packed: bool = True
    final: str = ""
    token_types: bool = False
    positions_after_padding: bool = False
    fused: int = 1
    position_bias: int | None = None

    @property
    def prunable(self) -> tuple[str, ...]:
        """The linear modules of a layer, weights and biases, that magnitude pruning ranks
        (run_glue.py:128-146 of the paper's repository, with output.dense's bias)."""
        return (*self.heads, self.attention_output, *self.mlp_inputs, self.mlp_output)


@dataclass(frozen=True)
class Architecture:
    """One whose adapter a user added.

    model_type: of its configurations. sha256: of the source of its classes, where they are no part of
    transformers.
    """

    model_type: str
    adapter: Adapter
    sha256: str | None = None


_BERT = Adapter(
    layers="bert.encoder.layer",
    attention="attention.self",
    heads=("attention.self.query", "attention.self.key", "attention.self.value"),
    attention_output="attention.output.dense",
    mlp="intermediate",
    mlp_inputs=("intermediate.dense",),
    mlp_output="output.dense",
    head=("bert.pooler", "classifier"),
    token_types=True,
)
_ROBERTA = replace(
    _BERT,
    layers="roberta.encoder.layer",
    head=("classifier",),
    token_types=False,
    positions_after_padding=True,
)
ADAPTERS = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "electra": replace(_BERT, layers="electra.encoder.layer", head=("classifier",)),
    "distilbert": Adapter(
        layers="distilbert.transformer.layer",
        attention="attention",
        heads=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        attention_output="attention.out_lin",
        mlp="ffn",
        mlp_inputs=("ffn.lin1",),
        mlp_output="ffn.lin2",
        head=("pre_classifier", "classifier"),
    ),
    "mpnet": replace(
        _BERT,
        layers="mpnet.encoder.layer",
        attention="attention.attn",
        heads=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
        attention_output="attention.attn.o",
        head=("classifier",),
        packed=False,
        token_types=False,
        position_bias=2,
    ),
    "deberta-v2": replace(
        _BERT,
        layers="deberta.encoder.layer",
        heads=(
            "attention.self.query_proj",
            "attention.self.key_proj",
            "attention.self.value_proj",
            # without share_att_key
            "attention.self.pos_key_proj",
            "attention.self.pos_query_proj",
        ),
        head=("pooler", "classifier"),
        packed=False,
    ),
    "modernbert": Adapter(
        layers="model.layers",
        attention="attn",
        heads=("attn.Wqkv",),
        attention_output="attn.Wo",
        mlp="mlp",
        mlp_inputs=("mlp.Wi",),
        mlp_output="mlp.Wo",
        head=("head", "classifier"),
        final="model.final_norm",
        fused=3,
    ),
    "llama": Adapter(
        layers="model.layers",
        attention="self_attn",
        heads=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        attention_output="self_attn.o_proj",
        mlp="mlp",
        mlp_inputs=("mlp.gate_proj", "mlp.up_proj"),
        mlp_output="mlp.down_proj",
        head=("score",),
        packed=False,
    ),
}

OWN: dict[str, "Architecture"] = {}
"""Those of `ADAPTERS` that users added, by model_type."""
RECORDED_ADAPTERS: set[Adapter] = set()
"""Adapters of users as the records of a root have them, which say what a mask's rows are of."""

REFUSED = {
    "albert": "one set of weights serves every layer, so that pruning a head of one layer prunes it in all",
}
"""Architectures that cannot have an adapter, and why."""

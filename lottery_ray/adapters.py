"""Where each architecture keeps what pruning needs. Names only, so that a plan needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Adapter:
    """Module names of one Hugging Face sequence classifier.

    layers: the list of encoder layers. The names after it are relative to a layer.
    attention: the self-attention module, replaced when a layer has no heads left.
    query, key, value: projections whose output rows belong to heads.
    attention_output: projection whose input columns belong to heads; the head gate is at its input.
    mlp: the first half of the MLP, its activation included; mlp_input: the projection in it.
    mlp_output: second half of the MLP; the MLP gate is at its output, before the residual sum.
    head: the module that takes the encoder's output and reads its first token.
    """

    layers: str
    attention: str
    query: str
    key: str
    value: str
    attention_output: str
    mlp: str
    mlp_input: str
    mlp_output: str
    head: str

    @property
    def prunable(self) -> tuple[str, ...]:
        """The linear modules of a layer, weights and biases, that magnitude pruning ranks
        (run_glue.py:128-146 of the paper's repository, with output.dense's bias)."""
        return (
            self.query,
            self.key,
            self.value,
            self.attention_output,
            self.mlp_input,
            self.mlp_output,
        )


ADAPTERS = {
    "bert": Adapter(
        layers="bert.encoder.layer",
        attention="attention.self",
        query="attention.self.query",
        key="attention.self.key",
        value="attention.self.value",
        attention_output="attention.output.dense",
        mlp="intermediate",
        mlp_input="intermediate.dense",
        mlp_output="output.dense",
        head="bert.pooler",
    ),
}

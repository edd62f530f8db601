"""The language of the embedded study: agreement across a relative clause, and topics on a circle.

Sentence: `(adj) N [rel N2 V2] V [N | adj N | adv]`. Every verb agrees in class with its noun, and
every noun and adjective has a topic. Nothing comes from outside: the words are made here too.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from lottery_ray.streams import seed

CLASSES, TOPICS = 3, 6
NOUNS = {(c, t): [f"n{c}{t}{i}" for i in range(2)] for c in range(CLASSES) for t in range(TOPICS)}
VERBS = {c: [f"v{c}{i}" for i in range(4)] for c in range(CLASSES)}
ADJECTIVES = {t: [f"a{t}{i}" for i in range(3)] for t in range(TOPICS)}
ADVERBS = [f"d{i}" for i in range(6)]
RELATIVISER = "that"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = [
    *SPECIAL,
    *(word for words in NOUNS.values() for word in words),
    *(word for words in VERBS.values() for word in words),
    *(word for words in ADJECTIVES.values() for word in words),
    *ADVERBS,
    RELATIVISER,
]


@dataclass(frozen=True)
class Language:
    """What decides the corpus and the tasks, beside the words above: a change to those, or to how
    sentences are drawn, raises VERSION.

    seed: of the language's random streams.
    corpus_pairs: sentence pairs to pre-train on.
    same_topic: share of corpus pairs whose sentences share a topic.
    nested, task_nested: share of sentences with a relative clause, in the corpus and in Acceptability.
    topic_noise: probability that a word takes a neighbouring topic.
    label_flips: share of Acceptability labels that are wrong (without it the task has no headroom).
    label_noise: of Similarity, in standard deviations of its target.
    """

    VERSION: ClassVar[int] = 1

    seed: int = 0
    corpus_pairs: int = 20_000
    same_topic: float = 0.75
    nested: float = 0.35
    task_nested: float = 0.5
    topic_noise: float = 0.15
    label_flips: float = 0.05
    label_noise: float = 0.3
    acceptability_rows: tuple[int, int] = (2_000, 600)
    similarity_rows: tuple[int, int] = (1_000, 500)


@dataclass(frozen=True)
class Word:
    text: str
    topic: int | None = None
    verb_class: int | None = None


class Speaker:
    """Draws sentences of a language from one named stream."""

    def __init__(self, language: Language, *stream: str) -> None:
        self.language = language
        self.random = random.Random(seed("language", language.seed, *stream))

    def topic(self) -> int:
        return self.random.randrange(TOPICS)

    def _near(self, topic: int) -> int:
        if self.random.random() < self.language.topic_noise:
            topic += self.random.choice((-1, 1))
        return topic % TOPICS

    def _noun(self, topic: int) -> tuple[int, Word]:
        agreement, topic = self.random.randrange(CLASSES), self._near(topic)
        return agreement, Word(self.random.choice(NOUNS[agreement, topic]), topic)

    def _adjective(self, topic: int) -> Word:
        topic = self._near(topic)
        return Word(self.random.choice(ADJECTIVES[topic]), topic)

    def _verb(self, agreement: int) -> Word:
        return Word(self.random.choice(VERBS[agreement]), verb_class=agreement)

    def sentence(self, topic: int, nested: float) -> list[Word]:
        words = [self._adjective(topic)] if self.random.random() < 0.5 else []
        agreement, noun = self._noun(topic)
        words.append(noun)
        if self.random.random() < nested:
            inner, noun = self._noun(topic)
            words += [Word(RELATIVISER), noun, self._verb(inner)]
        words.append(self._verb(agreement))
        ending = self.random.randrange(3)
        if ending == 1:
            words.append(self._adjective(topic))
        words.append(Word(self.random.choice(ADVERBS)) if ending == 2 else self._noun(topic)[1])
        return words

    def corrupt(self, words: list[Word]) -> list[Word]:
        """The same sentence with one verb of a wrong class."""
        place = self.random.choice([i for i, w in enumerate(words) if w.verb_class is not None])
        right = words[place].verb_class
        wrong = self.random.choice([c for c in range(CLASSES) if c != right])
        return [*words[:place], self._verb(wrong), *words[place + 1 :]]


def corpus(language: Language) -> Iterator[tuple[str, str]]:
    """Sentence pairs to pre-train on."""
    speaker = Speaker(language, "corpus")
    for _ in range(language.corpus_pairs):
        topic = speaker.topic()
        other = topic if speaker.random.random() < language.same_topic else speaker.topic()
        yield (
            text(speaker.sentence(topic, language.nested)),
            text(speaker.sentence(other, language.nested)),
        )


def table(language: Language, task: str, split: str) -> pa.Table:
    """One split ("train" or "validation") of a task, in the columns of GLUE's data sets:
    text columns, `label` and `idx`."""
    makers = {"acceptability": _acceptability, "similarity": _similarity}
    rows = getattr(language, f"{task}_rows")[0 if split == "train" else 1]
    columns = makers[task](Speaker(language, task, split), rows)
    return pa.table(columns | {"idx": pa.array(range(rows), pa.int32())})


def _acceptability(speaker: Speaker, rows: int) -> dict[str, pa.Array]:
    language = speaker.language
    sentences, labels = [], []
    for row in range(rows):
        words = speaker.sentence(speaker.topic(), language.task_nested)
        good = row % 2 == 0
        sentences.append(text(words if good else speaker.corrupt(words)))
        labels.append(int(good != (speaker.random.random() < language.label_flips)))
    return {"sentence": pa.array(sentences), "label": pa.array(labels, pa.int64())}


def _similarity(speaker: Speaker, rows: int) -> dict[str, pa.Array]:
    language = speaker.language
    first, second, targets = [], [], []
    for _ in range(rows):
        a = speaker.sentence(speaker.topic(), language.nested)
        b = speaker.sentence(speaker.topic(), language.nested)
        first.append(text(a))
        second.append(text(b))
        targets.append(float(_mean_topic(a) @ _mean_topic(b)))
    target = np.array(targets)
    noise = np.array([speaker.random.gauss(0, 1) for _ in range(rows)])
    label = target + language.label_noise * target.std() * noise
    return {
        "sentence1": pa.array(first),
        "sentence2": pa.array(second),
        "label": pa.array(label.astype(np.float32)),
    }


def _mean_topic(words: list[Word]) -> np.ndarray:
    angles = 2 * np.pi / TOPICS * np.array([w.topic for w in words if w.topic is not None])
    return np.array([np.cos(angles).mean(), np.sin(angles).mean()])


def text(words: list[Word]) -> str:
    return " ".join(word.text for word in words)


def verb_class(word: str) -> int | None:
    """The agreement class of a verb; None for any other word."""
    return next((c for c, verbs in VERBS.items() if word in verbs), None)

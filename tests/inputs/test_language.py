"""The embedded language: made the same every time, and with the grammar that it states."""

import re
from dataclasses import replace

import numpy as np
import pytest

from lottery_ray.identity import digest, identity
from lottery_ray.inputs import language
from lottery_ray.inputs.language import Language, Speaker, corpus, table, text

SMALL = Language(corpus_pairs=2_000)
SENTENCE = re.compile(
    r"(?:a\d\d )?n(?P<noun>\d)\d\d"
    r"(?: that n(?P<inner_noun>\d)\d\d v(?P<inner_verb>\d)\d)?"
    r" v(?P<verb>\d)\d(?: (?:a\d\d )?n\d\d\d| d\d)"
)


def violations(sentence: str) -> int:
    """Verbs that do not agree with their noun, by a grammar written here a second time."""
    found = SENTENCE.fullmatch(sentence)
    assert found, sentence
    inner = found["inner_noun"] is not None and found["inner_noun"] != found["inner_verb"]
    return int(inner) + int(found["noun"] != found["verb"])


def test_the_vocabulary_is_the_words_that_are_spoken() -> None:
    assert len(language.VOCABULARY) == len(set(language.VOCABULARY))
    texts = [sentence for pair in corpus(SMALL) for sentence in pair]
    for split in ("train", "validation"):
        texts += table(SMALL, "acceptability", split)["sentence"].to_pylist()
        texts += table(SMALL, "similarity", split)["sentence1"].to_pylist()
        texts += table(SMALL, "similarity", split)["sentence2"].to_pylist()
    words = {word for sentence in texts for word in sentence.split()}
    assert words == set(language.VOCABULARY) - set(language.SPECIAL)


def test_it_is_made_the_same_every_time() -> None:
    assert list(corpus(SMALL)) == list(corpus(SMALL))
    assert list(corpus(replace(SMALL, seed=1))) != list(corpus(SMALL))
    longer = list(corpus(replace(SMALL, corpus_pairs=2_500)))
    assert longer[:2_000] == list(corpus(SMALL))
    for task in ("acceptability", "similarity"):
        for split in ("train", "validation"):
            first = table(SMALL, task, split)
            table(SMALL, "similarity", "train")
            assert first.equals(table(SMALL, task, split))
            assert not first.equals(table(replace(SMALL, seed=1), task, split))


def test_the_sentences_behind_a_key_never_change() -> None:
    # Words and grammar are no fields of Language, and yet they decide what a key's result is: once results
    # exist, whoever changes the second digest changes the first one too, by a version in the identity.
    # Labels of Similarity are left out: the last bit of a cosine depends on the machine.
    said: list[object] = list(corpus(Language(corpus_pairs=200)))
    for task in ("acceptability", "similarity"):
        for split in ("train", "validation"):
            made = table(Language(), task, split)
            said.append((made if task == "acceptability" else made.drop_columns("label")).to_pydict())
    assert (digest(identity(Language())), digest(said)) == (
        "0d164bcf0ec06586d71423b88426556232f78a25f76834900bc142ea608c90da",
        "1eb9c326057993995ef3de7b7f57bf91175bdebea19f4e0b2a043b727550e8e1",
    )


def test_splits_are_different_sentences_of_the_stated_number() -> None:
    for task, (train, dev) in (("acceptability", (2_000, 600)), ("similarity", (1_000, 500))):
        splits = [table(SMALL, task, split) for split in ("train", "validation")]
        assert [split.num_rows for split in splits] == [train, dev]
        assert [split["idx"].to_pylist() for split in splits] == [list(range(train)), list(range(dev))]
        assert splits[0].column(0).to_pylist()[:50] != splits[1].column(0).to_pylist()[:50]


def test_every_verb_of_the_corpus_agrees_with_its_noun() -> None:
    nested = 0
    for pair in corpus(SMALL):
        for sentence in pair:
            assert violations(sentence) == 0, sentence
            nested += " that " in sentence
    # 4,000 sentences: 0.35 with a standard deviation of 0.0075
    assert abs(nested / 4_000 - SMALL.nested) < 4 * 0.0075


def test_a_corrupted_sentence_violates_agreement_exactly_once() -> None:
    speaker = Speaker(SMALL, "test")
    for _ in range(2_000):
        words = speaker.sentence(speaker.topic(), nested=0.5)
        corrupted = speaker.corrupt(words)
        assert violations(text(words)) == 0
        assert violations(text(corrupted)) == 1
        assert sum(a != b for a, b in zip(words, corrupted, strict=True)) == 1


@pytest.mark.parametrize(("split", "rows"), [("train", 2_000), ("validation", 600)])
def test_about_one_label_in_twenty_is_wrong(split: str, rows: int) -> None:
    made = table(SMALL, "acceptability", split)
    grammatical = np.array([violations(sentence) == 0 for sentence in made["sentence"].to_pylist()])
    labels = made["label"].to_numpy()
    flipped = (grammatical != labels.astype(bool)).mean()
    assert abs(flipped - 0.05) < 4 * np.sqrt(0.05 * 0.95 / rows)
    assert grammatical.mean() == 0.5
    clean = table(replace(SMALL, label_flips=0.0), "acceptability", split)
    clean_labels = [violations(sentence) == 0 for sentence in clean["sentence"].to_pylist()]
    assert clean["label"].to_pylist() == list(map(int, clean_labels))


def test_similarity_is_the_product_of_mean_topics_and_stated_noise() -> None:
    made = table(SMALL, "similarity", "train")

    def mean(sentence: str) -> complex:
        topics = [int(w[2] if w[0] == "n" else w[1]) for w in sentence.split() if w[0] in "na"]
        return complex(np.exp(2j * np.pi / language.TOPICS * np.array(topics)).mean())

    pairs = zip(made["sentence1"].to_pylist(), made["sentence2"].to_pylist(), strict=True)
    target = np.array([(mean(a) * np.conj(mean(b))).real for a, b in pairs])
    residual = made["label"].to_numpy() - target
    # of 1,000 rows: the share of noise within 4 standard deviations of its estimate
    assert abs(residual.std() / target.std() / SMALL.label_noise - 1) < 4 / np.sqrt(2 * 1_000)
    assert np.corrcoef(made["label"].to_numpy(), target)[0, 1] > 0.94
    assert np.abs(made["label"].to_numpy()).max() <= 4, "the range that the task table states"


def test_verbs_know_their_class() -> None:
    for agreement, verbs in language.VERBS.items():
        assert {language.verb_class(verb) for verb in verbs} == {agreement}
        assert all(verb.startswith(f"v{agreement}") for verb in verbs)
    all_verbs = {verb for verbs in language.VERBS.values() for verb in verbs}
    assert {language.verb_class(word) for word in set(language.VOCABULARY) - all_verbs} == {None}

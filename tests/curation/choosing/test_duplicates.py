"""Near-duplicates: what an all-pairs search finds, whatever the order of the clips."""

import random
import time

import pytest
from clips import clip
from hypothesis import given, settings
from hypothesis import strategies as st

from avgan.curation.record import Candidate
from avgan.curation.select import Likeness, find_duplicates
from avgan.errors import ConfigError


def hashed(number: int, look: int, voice: int) -> Candidate:
    return clip(f"film-{number:06}", look=f"{look:016x}", voice=f"{voice:064x}")


def flipped(value: int, num_bits: int, width: int, rng: random.Random) -> int:
    for bit in rng.sample(range(width), num_bits):
        value ^= 1 << bit
    return value


def by_all_pairs(clips: list[Candidate], likeness: Likeness) -> dict[str, str]:
    """The definition: in order of their ids, each is compared with all that were kept before it."""
    kept: list[Candidate] = []
    repeated: dict[str, str] = {}
    for one in sorted(clips, key=lambda one: one.id):
        for other in kept:
            look = int(one.measures.look, 16) ^ int(other.measures.look, 16)
            voice = int(one.measures.voice, 16) ^ int(other.measures.voice, 16)
            if look.bit_count() <= likeness.look_bits and voice.bit_count() <= likeness.voice_bits:
                repeated[one.id] = other.id
                break
        else:
            kept.append(one)
    return repeated


@settings(max_examples=40)
@given(seed=st.randoms(use_true_random=False), look_bits=st.integers(0, 31), voice_bits=st.integers(0, 255))
def test_as_by_all_pairs_whatever_the_order(seed: random.Random, look_bits: int, voice_bits: int) -> None:
    likeness = Likeness(look_bits=look_bits, voice_bits=voice_bits)
    clips = [hashed(0, seed.getrandbits(64), seed.getrandbits(256))]
    for number in range(1, 24):  # each some bits from one before it, about as many as may differ
        near = seed.choice(clips).measures
        look = flipped(int(near.look, 16), min(64, seed.randint(0, look_bits + 2)), 64, seed)
        voice = flipped(int(near.voice, 16), min(256, seed.randint(0, voice_bits + 2)), 256, seed)
        clips.append(hashed(number, look, voice))
    expected = by_all_pairs(clips, likeness)
    seed.shuffle(clips)
    assert find_duplicates(clips, likeness) == expected


def test_both_picture_and_sound_must_be_alike() -> None:
    first = hashed(0, 0, 0)
    other_sound = hashed(1, 0, 2**256 - 1)
    other_picture = hashed(2, 2**64 - 1, 0)
    copy = hashed(3, 1, 1)
    assert find_duplicates([copy, first, other_sound, other_picture]) == {copy.id: first.id}


def test_what_is_alike_to_a_copy_only_is_kept() -> None:
    chain = [hashed(number, (1 << 5 * number) - 1, 0) for number in range(3)]
    assert find_duplicates(chain) == {chain[1].id: chain[0].id}


def test_impossible_distances_are_refused() -> None:
    with pytest.raises(ConfigError, match="0 to 31 bits"):
        Likeness(look_bits=40)


def test_far_fewer_than_all_pairs_are_compared() -> None:
    rng = random.Random(0)
    clips = [hashed(number, rng.getrandbits(64), rng.getrandbits(256)) for number in range(4_000)]
    copies = [
        hashed(9_000 + n, int(clips[n].measures.look, 16) ^ 5, int(clips[n].measures.voice, 16))
        for n in range(0, 4_000, 400)
    ]
    started_s = time.process_time()
    found = find_duplicates(clips + copies)
    assert set(found) == {copy.id for copy in copies}
    assert time.process_time() - started_s < 3  # 8 million pairs would take longer

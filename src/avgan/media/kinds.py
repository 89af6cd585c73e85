"""Which files hold sound, by their ending, and by their first bytes where the ending says nothing."""

from pathlib import Path

SOUND_SUFFIXES = frozenset(
    """
    .aac .ac3 .adts .aif .aifc .aiff .amr .ape .au .awb .bwf .caf .dff .dsf .dts .dtshd .eac3 .ec3 .flac .gsm
    .ircam .m4a .m4b .m4r .mka .mlp .mp1 .mp2 .mp3 .mpc .oga .ogg .oma .opus .qcp .ra .rf64 .rm .sf .snd .sph .spx
    .tak .thd .truehd .tta .voc .w64 .wav .wave .weba .wma .wv .xwma
    """.split()
)
VIDEO_SUFFIXES = frozenset(
    """
    .3g2 .3gp .asf .avi .divx .dv .f4v .flv .m2t .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut .ogv .ogx .qt
    .rmvb .vob .webm .wmv .wtv
    """.split()
)
SUFFIXES = SOUND_SUFFIXES | VIDEO_SUFFIXES
"""Not .ts, .raw, .dat and the like, which may be anything: their first bytes decide."""

_MAGICS = (
    b"fLaC",
    b"OggS",
    b"ID3",
    b"caff",
    b".snd",
    b"wvpk",
    b"TTA1",
    b"TTA2",
    b"MAC ",
    b"tBaK",
    b"Creative Voice File",
    b"#!AMR",
    b"riff\x2e\x91\xcf\x11",
    b"\x1aE\xdf\xa3",
    b"FLV\x01",
    b"0&\xb2u\x8ef\xcf\x11",
    b".RMF",
    b"MP+",
    b"MPCK",
    b"DSD ",
    b"NIST_1A",
    b"nut/multimedia container\0",
    b"\x0bw",
    b"\x7f\xfe\x80\x01",
    b"\x00\x00\x01\xba",
    b"\x06\x0e+4\x02\x05\x01\x01\r\x01\x02",
)
_STILL_BRANDS = (b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1", b"avif", b"avis", b"jxl ", b"crx ")
"""Kinds of MP4 that are pictures."""
HEAD_BYTES = 8_192  # three frames of MP3 at its highest rate, five packets of MPEG-TS
_MP3_KBPS = {
    # MPEG version 1 or not, layer -> kilobits a second by the index in a frame's header
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def looks_like_sound(path: Path) -> bool:
    """Whether a file begins as a recording or a video does. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return is_sound(file.read(HEAD_BYTES))


def is_sound(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a recording or a video."""
    if head.startswith(_MAGICS):
        return True
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return head[8:12] in (b"WAVE", b"AVI ")
    if head[:4] == b"FORM":
        return head[8:12] in (b"AIFF", b"AIFC")
    if head[4:8] == b"ftyp":
        return head[8:12] not in _STILL_BRANDS
    if head[4:8] in (b"moov", b"mdat", b"wide"):
        return True
    return _is_mpegts(head) or _frames_follow(head)


def _is_mpegts(head: bytes) -> bool:
    """Whether there is the mark of a packet every 188 or, with a time before each, 192 bytes."""
    for size, first in ((188, 0), (192, 4)):
        marks = head[first : first + 5 * size : size]
        if len(marks) == 5 and set(marks) == {0x47}:
            return True
    return False


def _frames_follow(head: bytes) -> bool:
    """Whether frames of MP3 or AAC follow each other: one mark alone is found in any noise."""
    at = 0
    for _ in range(3):
        length = _frame_bytes(head[at : at + 6])
        if not length:
            return False
        at += length
    return True


def _frame_bytes(head: bytes) -> int:
    """How long a frame of MP3 or AAC (ADTS) is, by its header; 0 where it is none."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    if head[1] & 0xF6 == 0xF0:  # ADTS
        return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate_index, bits_index = head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or layer not in (2, 3) or rate_index == 3 or not 0 < bits_index < 15:
        return 0
    halvings = {3: 0, 2: 1}.get(version, 2)
    rate_hz = (44_100, 48_000, 32_000)[rate_index] >> halvings
    kbps = _MP3_KBPS[version == 3, layer][bits_index]
    slots = 72 if layer == 3 and version != 3 else 144
    return slots * kbps * 1_000 // rate_hz + (head[2] >> 1 & 1)

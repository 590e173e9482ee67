from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.annotations.errors import DamagedInputError
from thermvision.curation import video


def clip(n=37, size=48, noise=2.0, seed=0, amplitude=130):
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    waves = [120 + amplitude * np.sin(x / 9 + k / 5) * np.cos(y / 11) for k in range(n)]
    return np.clip(np.stack(waves) + rng.normal(0, noise, (n, size, size)), 0, 255).astype(np.uint8)


FRAMES = clip()
LOSSLESS = video.encode_gray(FRAMES, crf=0)


def test_lossless_is_bit_exact_over_the_full_range():
    assert FRAMES.min() < 16
    assert (video.decode_gray(LOSSLESS) == FRAMES).all()


@given(st.lists(st.integers(-len(FRAMES), len(FRAMES) - 1), max_size=12))
@settings(max_examples=60, deadline=None)
def test_frame_k_is_frame_k_in_any_order(indices):
    assert (video.decode_gray(LOSSLESS, indices) == FRAMES[indices]).all()


@pytest.mark.parametrize("index", [len(FRAMES), -len(FRAMES) - 1])
def test_an_index_outside_the_clip_names_the_range(index):
    with pytest.raises(IndexError, match=r"allowed: -37 to 36"):
        video.decode_gray(LOSSLESS, [index])


def test_default_quality_and_determinism():
    frames = clip(noise=0.5, amplitude=60)
    data = video.encode_gray(frames)
    assert {video.encode_gray(frames) for _ in range(12)} == {data}
    assert video.min_psnr(frames, video.decode_gray(data)) >= 40


def test_noise_gets_a_lower_crf_until_the_worst_frame_is_faithful():
    frames = clip(noise=8.0, n=12)
    assert video.min_psnr(frames, video.decode_gray(video.encode_gray(frames))) < 40
    data, crf = video.encode_faithful(frames)
    assert crf < video.CRF
    assert video.min_psnr(frames, video.decode_gray(data)) >= 40


def test_psnr_has_the_textbook_value():
    a = np.zeros((2, 4, 4), np.uint8)
    b = a.copy()
    b[1, 0, 0] = 255
    assert video.min_psnr(a, a) == np.inf
    assert video.min_psnr(a, b) == pytest.approx(10 * np.log10(16))


def test_probe_counts_what_decodes():
    info = video.probe(LOSSLESS)
    assert info == video.VideoInfo(num_frames=37, width=48, height=48, fps=30.0, codec="h264")


def test_limited_range_is_stretched_to_gray_levels(tmp_path):
    path = tmp_path / "limited.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", Fraction(25), options={"qp": "0"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame(32, 32, "yuv420p")
        for plane, value in zip(frame.planes, (235, 128, 128), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert (video.decode_gray(path) == 255).all()
    assert video.probe(path).fps == 25.0


def damaged():
    middle = bytearray(LOSSLESS)
    middle[len(middle) // 2 : len(middle) // 2 + 400] = bytes(400)
    return {"text": b"no video" * 99, "empty": b"", "truncated": LOSSLESS[: len(LOSSLESS) // 2], "hole": bytes(middle)}


@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "hole"])
@pytest.mark.parametrize("read", [video.probe, video.decode_gray])
def test_a_damaged_video_is_one_clear_error(kind, read):
    with pytest.raises(DamagedInputError, match="fetch the file again"):
        read(damaged()[kind])


@given(st.integers(1, len(LOSSLESS) - 1))
@settings(max_examples=30, deadline=None)
def test_a_file_cut_anywhere_is_never_taken_for_whole(size):
    with pytest.raises(DamagedInputError):
        video.probe(LOSSLESS[:size])


@pytest.mark.parametrize(
    "frames", [np.zeros((0, 4, 4), np.uint8), np.zeros((1, 3, 4), np.uint8), np.zeros((1, 4, 4), np.float32)]
)
def test_frames_that_cannot_be_encoded_are_refused(frames):
    with pytest.raises(ValueError, match="allowed: uint8"):
        video.encode_gray(frames)


def test_encoding_as_frames_are_made_gives_the_same_bytes():
    for frames in (clip(n=12), clip(noise=8.0, n=12)):
        made, data, crf = video.encode_as_made(iter(frames), 25)
        assert (made == frames).all()
        assert (data, crf) == video.encode_faithful(frames, 25)


@pytest.mark.parametrize("frames", [[], [np.zeros((5, 8), np.uint8)], [np.zeros((8, 8), np.float32)]])
def test_what_cannot_be_encoded_as_made(frames):
    with pytest.raises(ValueError, match="the first frame is"):
        video.encode_as_made(iter(frames))


@pytest.mark.parametrize("fps", [12.5, 25, 29.97, 60])
def test_a_constant_rate_is_every_frame_once(fps):
    rate, count, frames = video.at_constant_rate(video.encode_gray(FRAMES, fps, crf=0))
    assert (rate, count) == (pytest.approx(fps, rel=1e-3), len(FRAMES))
    assert (np.stack(list(frames)) == FRAMES).all()


@given(st.lists(st.integers(1, 400), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_a_variable_rate_is_resampled_to_the_nearest_frame(tmp_path_factory, gaps):
    from moving_faces import levels, write_video

    times = np.cumsum([0, *gaps])
    path = tmp_path_factory.mktemp("rate") / "a.mkv"
    write_video(path, levels(len(times), 16, 16), [int(t) for t in times], fps=1000)
    rate, count, frames = video.at_constant_rate(path)
    shown = [int(frame[0, 0]) // 10 - 1 for frame in frames]
    assert len(shown) == count
    if np.abs(times * rate / 1000 - np.arange(len(times))).max() < 0.5:
        assert shown == list(range(len(times)))
        return
    distance = np.abs(np.arange(count)[:, None] / rate * 1000 - times)
    assert (distance[range(count), shown] <= distance.min(1) + 1e-6).all()
    assert shown == sorted(shown)


def test_a_damaged_video_has_no_rate(tmp_path):
    with pytest.raises(DamagedInputError, match=r"announces 37 frames and holds \d+; fetch"):
        video.at_constant_rate(LOSSLESS[: len(LOSSLESS) // 2])
    with pytest.raises(DamagedInputError, match="no video stream"):
        video.at_constant_rate(LOSSLESS[:200])

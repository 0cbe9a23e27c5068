"""What the search for moving regions goes by, with every default in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MotionOptions:
    """Lengths in pixels of the small grey picture unless said otherwise, times in seconds.

    width: widest small picture. differs: deviations (of the noise at that place) from which a pixel is
    foreground; peak: that at least one pixel of a region reaches. floor: least noise in grey levels: sensors
    and JPEG leave about this much. least_area: pixels of the smallest region.
    learn_s: time constant of the background; noise_s: of its variance; absorb_s: of foreground that lies
    still, so that a fallen leaf is background in the end.
    global_share: share of the picture that changes at once only when the light or the camera does.
    spread: the same, counted in cells of an 8 × 6 grid: shaking shows at edges everywhere.
    blind_s: after so long such a change is the new scene. settle_s: nothing is proposed for so long at the
    beginning and after that.
    pad: the crop's side over the region's longer side: training photos leave about so much room.
    least_crop: side of the smallest crop, in pixels of the frame.
    max_regions: crops classified per frame, so that the time of one frame is bounded.
    track_gap_s: a track that nothing has moved on for so long has ended; rest_s: how often a subject that
    sits still is looked at again; still_s: after so long without any change it is taken for gone or scenery.
    auto_s: how long the picture must stay of one kind before ``auto`` changes over. first_s: how long it
    believes in a visit that was there from the first picture, and in which nothing large has moved yet.
    """

    width: int = 160
    differs: float = 3.0
    peak: float = 4.0
    floor: float = 2.5
    least_area: int = 4
    learn_s: float = 10.0
    noise_s: float = 30.0
    absorb_s: float = 60.0
    global_share: float = 0.45
    spread: float = 0.5
    blind_s: float = 1.5
    settle_s: float = 0.5
    pad: float = 1.3
    least_crop: int = 24
    max_regions: int = 4
    track_gap_s: float = 1.0
    rest_s: float = 2.0
    still_s: float = 60.0
    auto_s: float = 2.0
    first_s: float = 15.0

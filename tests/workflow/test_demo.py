"""The demo, small: every step runs, the page stands alone, generated accuracy is labelled."""

from __future__ import annotations

import json
from pathlib import Path

from support import imago


def test_quick_demo(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = imago("demo", "--quick", "--out", str(out), "--json", str(tmp_path / "demo.json"), timeout=400)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "demo.json").read_text(encoding="utf-8"))
    assert result["generated_data"] is True
    precisions = [m["precision"] for m in result["models"]]
    assert precisions[::2] == ["fp32", "fp32"]
    assert set(precisions[1::2]) <= {"int8", "int8-weights"}  # the second where integers are slower here
    assert all(m["generated_data"] and m["n"] > 0 and m["p50_us"] > 0 for m in result["models"])
    assert result["live"]["processed"] > 0
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "generator" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    for name in ("photos.jpg", "live.jpg", "camera.avi", "seen.jsonl", "lenet5.onnx", "predict.py"):
        assert (out / name).stat().st_size > 0
    again = imago("demo", "--quick", "--out", str(out))
    assert again.returncode == 2

# SPDX-License-Identifier: Apache-2.0
"""Real token embeddings: all-MiniLM-L6-v2 over a text, one row, float16, for each token: the last LAYERS hidden layers
side by side, each of norm 1. Needs torch.

usage: python -m benchmarks.embed MODEL_FOLDER TEXT OUT.npy N LAYERS
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def embed(model_folder: Path, text: Path, out: Path, n: int, layers: int) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    cuda = torch.cuda.is_available()
    device, batch = ("cuda", 512) if cuda else ("cpu", 32)
    tokenizer = AutoTokenizer.from_pretrained(model_folder, local_files_only=True)
    model = AutoModel.from_pretrained(model_folder, local_files_only=True).eval().to(device)
    model = model.half() if cuda else model.float()
    lines = [line for line in text.read_text(errors="replace").splitlines() if line.strip()]
    unfinished = out.with_suffix(".part")
    shape = (n, layers * model.config.hidden_size)
    rows = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.float16, shape=shape)
    done = 0
    with torch.inference_mode():
        for start in range(0, len(lines), 8 * batch):
            # Lines of like length share a batch, so that little of it is padding.
            chunk = sorted(lines[start : start + 8 * batch], key=len)
            for i in range(0, len(chunk), batch):
                parts = tokenizer(
                    chunk[i : i + batch], padding=True, truncation=True, max_length=256, return_tensors="pt"
                ).to(device)
                keep = parts["attention_mask"].bool()
                keep[:, 0] = False  # [CLS] is no token of the text
                found = model(**parts, output_hidden_states=True).hidden_states[-layers:]
                normal = [torch.nn.functional.normalize(layer.float()[keep], dim=-1) for layer in found]
                hidden = torch.cat(normal, -1).half().cpu().numpy()[: n - done]
                rows[done : done + len(hidden)] = hidden
                done += len(hidden)
                if done == n:
                    rows.flush()
                    unfinished.rename(out)
                    return
            print(f"{done} of {n} tokens", file=sys.stderr, flush=True)
    unfinished.unlink()
    sys.exit(f"the text gives only {done} tokens, {n} are needed")


if __name__ == "__main__":
    embed(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))

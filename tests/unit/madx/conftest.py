"""The devices that a test runs on: the CPU and, where there is one, a CUDA device, whose runs are marked `gpu`."""

import os

import pytest
import torch

if torch.cuda.is_available():
    # What `torch.use_deterministic_algorithms` asks of cuBLAS.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

_CUDA = [pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else []


@pytest.fixture(scope="session", params=["cpu", *_CUDA])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(str(request.param))

import io
import warnings
import zipfile

import pytest
import torch

from model.engines.scripted import load_script
from model.errors import UserError
from tests.support.packages import foreign_net, torchscript


def _saved(module):
    out = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.script(module), out)
    return out.getvalue()


class WritesAFile(torch.nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, self.path)
        return x


class WritesAFileWhenRead(torch.nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save(torch.zeros(1), self.path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_the_attacks_of_these_tests_work_without_the_checks(tmp_path):
    path = tmp_path / "written"
    with warnings.catch_warnings(action="ignore"):
        torch.jit.load(io.BytesIO(_saved(WritesAFileWhenRead(str(path)))))
        assert path.exists()
        path.unlink()
        torch.jit.load(io.BytesIO(_saved(WritesAFile(str(path)))))(torch.zeros(1))
        assert path.exists()


def test_operations_that_are_not_of_nets_are_refused_before_they_run(tmp_path):
    path = tmp_path / "written"
    with pytest.raises(UserError, match="operations that no net needs: aten::save"):
        load_script(_saved(WritesAFile(str(path))))
    assert not path.exists()


def test_code_that_runs_while_it_is_loaded_is_refused(tmp_path):
    path = tmp_path / "written"
    with pytest.raises(UserError, match="__setstate__"):
        load_script(_saved(WritesAFileWhenRead(str(path))))
    assert not path.exists()


def test_operations_in_branches_and_loops_are_seen(tmp_path):
    class Hidden(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(int(x.size(0))):
                if x.size(0) > 1:
                    x = self.inner(x)
            return x

    with pytest.raises(UserError, match="aten::save"):
        load_script(_saved(Hidden(WritesAFile(str(tmp_path / "written")))))


def test_classes_of_other_libraries_are_refused():
    anew = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(torchscript(foreign_net()))) as archive, zipfile.ZipFile(anew, "w") as changed:
        for name in archive.namelist():
            data = archive.read(name)
            changed.writestr(name, data + b"c__torch__.torch.classes.rpc\nX\n" if name.endswith("data.pkl") else data)
    with pytest.raises(UserError, match=r"torch\.classes"):
        load_script(anew.getvalue())


def test_a_pickle_is_not_torchscript():
    out = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, out)
    with pytest.raises(UserError, match="not TorchScript"):
        load_script(out.getvalue())


def test_scripted_nets_run_like_traced_ones():
    with warnings.catch_warnings(action="ignore"):
        scripted = torch.jit.script(foreign_net(norm="batch"))
    out = io.BytesIO()
    torch.jit.save(scripted, out)
    x = torch.rand(1, 1, 64, 64)
    assert torch.allclose(load_script(out.getvalue())(x), foreign_net(norm="batch")(x), atol=1e-6)

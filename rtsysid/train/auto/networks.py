"""Make the networks of a default training from what its run holds, and weigh them by the validation recordings."""

from __future__ import annotations

import msgspec
import numpy as np
import torch

from rtsysid.config import Config
from rtsysid.guards.stages import say_stage
from rtsysid.spec import Doubles
from rtsysid.train.auto.completed import CORRECTION, REPLACED, network_kinds, with_kind
from rtsysid.train.auto.expected import with_network
from rtsysid.train.auto.frames import target_groups
from rtsysid.train.auto.judge import Gains, JudgedRows, fit_gains, ground_of, least_regret, ratio
from rtsysid.train.auto.parts import Parts, hold_unit, network_of
from rtsysid.train.config_text import toml_text
from rtsysid.train.network import Network
from rtsysid.train.run import Run
from rtsysid.train.tensors import Tensors
from rtsysid.train.windows import Sequences

JUDGE = "judge"  # part of the run, next to the kinds of network and the result


class RunNetworks:
    """Make the networks of one run: new ones of each kind, and the judge, which is the better kind."""

    def __init__(self, run: Run, parts: Parts) -> None:
        self.run, self.parts = run, parts

    @property
    def config(self) -> Config:
        """The completed configuration of the run."""
        return msgspec.convert(self.run.about["config"], Config)

    @property
    def horizon(self) -> int:
        """Ticks that the linear model was judged on."""
        return len(self.run.arrays("yardstick.npz")["rms"])

    def new(self, kind: str) -> Network:
        """Make a network of one kind as it is before training."""
        arrays = self.run.arrays("judge_path.npz")
        return network_of(self.run.spec, arrays, self.config.train.seed, replaces=kind == REPLACED)

    def unit(self, kind: str) -> Doubles:
        """Return the unit [N, ny] of the losses: what the linear model leaves, or hold where it is replaced."""
        if kind == REPLACED:
            return hold_unit(self.parts.training, self.run.spec, self.horizon)
        unit: Doubles = self.run.arrays("yardstick.npz")["rms"].astype(np.float64)
        return unit

    def ground(self, count: int | None = None) -> JudgedRows:
        """Return the validation sequences that networks are judged on."""
        asked = {} if count is None else {"count": count}
        return ground_of(Sequences(self.parts.validation), self.run.spec.settling_samples, self.horizon, **asked)

    def trained(self) -> list[str]:
        """List the kinds whose training has ended."""
        return [kind for kind in network_kinds(self.config) if self.run.part(kind).complete]

    def weigh(self) -> None:
        """Use as much of each kind as the validation recordings show to be of use; the better kind is the judge."""
        run = self.run
        if run.part(JUDGE).complete:
            return
        say_stage("weighing the networks")
        weighed = {kind: self.weighed(self._of_kind(kind)) for kind in self.trained()}
        best = least_regret({kind: gains.errors.mean(0) for kind, gains in weighed.items()})
        gains = weighed[best]
        run.save_completed(toml_text(with_kind(self.config, best)))
        run.save_expected(with_network(run.expected(), ratio(gains.errors, gains.linear)))
        run.save_history(run.part(best).history())
        run.part(JUDGE).finish(gains.network.state_dict())

    def weighed(self, network: Network) -> Gains:
        """Set the gains of a trained network by its errors on the validation recordings."""
        linear_gain = torch.from_numpy(self.run.arrays("judge_path.npz")["gain"])
        return fit_gains(network, linear_gain, self.ground(), target_groups(self.run.spec))

    def of_judge(self) -> Network:
        """Make the network of the judge, with the linear maps of all recordings."""
        network = network_of(self.run.spec, self.run.arrays("linear_path.npz"), 0)
        maps = {name: value for name, value in network.state_dict().items() if name.startswith("linear_")}
        network.load_state_dict({**self.run.part(JUDGE).weights(), **without_gains(maps)})
        return network

    def replaces(self) -> bool:
        """Tell whether the judge replaces the linear model for any output at any age."""
        gain = self.run.arrays("judge_path.npz")["gain"]
        return not np.array_equal(self.run.part(JUDGE).weights()["linear_gain"].numpy(), gain)

    def kind(self) -> str:
        """Return the kind of the judge."""
        return REPLACED if self.replaces() else CORRECTION

    def _of_kind(self, kind: str) -> Network:
        network = self.new(kind)
        network.load_state_dict(self.run.part(kind).weights())
        return network


def without_gains(weights: Tensors) -> Tensors:
    """Leave out the gains by age."""
    return {name: value for name, value in weights.items() if not name.endswith("_gain")}

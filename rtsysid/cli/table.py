"""The table of commands: in sections, each with a few words. Their modules are imported when a command is used."""

from __future__ import annotations

from rtsysid.cli.sections import Deferred, Lazy

benchmark = Lazy("benchmark")
calibrate = Lazy("calibrate")
check = Lazy("check")
compare = Lazy("compare")
demo = Lazy("demo")
doctor = Lazy("doctor")
evaluate = Lazy("evaluate")
find = Lazy("find")
firmware = Lazy("firmware")
hil = Lazy("hil")
info = Lazy("info")
init = Lazy("init")
linearise = Lazy("linearise")
link = Lazy("link")
recording = Lazy("recording")
replay = Lazy("replay")
report = Lazy("report")
settings = Lazy("settings")
simulate = Lazy("simulate")
sweep = Lazy("sweep")
train = Lazy("train")
trust = Lazy("trust")
updating = Lazy("updating")

SECTIONS: dict[str, dict[Deferred, str]] = {
    "Start": {
        demo.demo: "run the whole path once, from recordings to a report",
        info.info: "describe a recording, a run, a bundle, an index or a board",
        init.init: "write a configuration for your own log",
        check.check_command: "find faults in recordings before a training",
        init.convert_command: "write the aligned rows of a log",
        simulate.simulate: "fly a simulated quadrotor and write its recordings",
        benchmark.data: "list and download public recordings",
        doctor.doctor: "say what this machine can do, and what is missing",
        settings.config_group: "show a configuration",
        settings.completion: "teach a shell to complete",
    },
    "Learn": {
        train.train: "train a model, or continue an interrupted training",
        train.export_command: "make a verified bundle of a finished training",
        compare.compare_command: "train several configurations and compare them",
        sweep.sweep: "search for a better or a smaller model",
        benchmark.benchmark_command: "train and score on public recordings",
    },
    "Judge": {
        report.report_command: "write an HTML page that judges a model",
        evaluate.evaluate_command: "print the error by ticks ahead, next to two baselines",
        evaluate.verify_command: "run every backend over the golden trace of a bundle",
        linearise.linearise_command: "print the model at one moment as a linear system",
        calibrate.calibrate: "calibrate novelty and intervals on held-out recordings",
    },
    "Robot": {
        replay.replay_command: "stream a recording through the live path",
        link.run: "predict for a board while it streams",
        updating.rollback: "point a link at the bundle before",
        link.record: "record what a board streams, without a model",
        recording.recover: "copy the intact part of a damaged recording",
        link.sim_device: "simulate a board that plays a recording",
        firmware.firmware: "write model and channel table as C, or build an image",
        hil.hil: "play recordings to a board, and compare every bit",
        trust.trust_group: "say whose bundles are trusted, and sign your own",
    },
    "Search": {
        find.index: "make recordings searchable",
        find.find_command: "find moments that resemble one moment",
    },
}

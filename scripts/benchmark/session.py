"""A benchmark from its command line to its report: sections measured one after another on this machine."""

import json
import os
import platform
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from discrete_latents.errors import UserError
from scripts.benchmark import sections
from scripts.benchmark.cases import CASES
from scripts.benchmark.report import figure, tables
from scripts.common.report import write_report


def run_benchmark(arguments: Namespace) -> None:
    """Measures the sections of `arguments.sections` and writes the report, also after an interruption.

    Sections and cases that an earlier report of the same machine has, and that are not measured anew, are kept.
    Raises UserError where the device is missing.
    """
    device = arguments.device
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda needs a GPU")
    report = "benchmark" if device == "cpu" else f"benchmark_{device}"
    path = arguments.output / f"{report}.json"
    former: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    os.environ["BENCHMARK_THREADS"] = str(arguments.threads)
    here = machine(device) | ({"threads": arguments.threads} if arguments.threads > 1 else {})
    elsewhere = by_processor(former)
    results = former if arguments.only and former.get("machine") == here else {"machine": here}
    try:
        for section in arguments.sections:
            print(f"measuring {section}", flush=True)
            own = results.setdefault(section, {})
            for name, value in measured(section, arguments):
                own[name] = value
    finally:
        results = {name: section for name, section in results.items() if section}
        if processors := by_processor(results, elsewhere):
            results["processors"] = processors
        if arguments.only and former and former["machine"] != here:  # the other machine's report, with these steps
            results = former | ({"processors": processors} if processors else {})
        draw = figure if {"steps", "batches"} & results.keys() else None
        write_report(arguments.output, report, results, tables(results), draw and (lambda at: figure(results, at)))


def by_processor(results: dict[str, Any], others: dict[str, Any] | None = None) -> dict[str, Any]:
    """The steps of a report and of `others`, by the name of a processor and its instructions."""
    found = {**results.get("processors", {}), **(others or {})}
    if results.get("steps"):
        of = results["machine"]
        name = of.get("gpu") or f"{of['cpu']}, {of['capability']}"
        name += f", {of['threads']} threads" if "threads" in of else ""
        found[name] = {**found.get(name, {}), **results["steps"]}
    return found


def measured(section: str, arguments: Namespace) -> Iterator[tuple[str, Any]]:
    """The entries of a section of the report, one by one."""
    blocks, data, folder = arguments.blocks, arguments.data.absolute(), arguments.runs.absolute()
    cases = {name: replace(case, device=arguments.device) for name, case in CASES.items()}
    match section:
        case "steps":
            for name in arguments.cases:
                own = available(name, arguments.contenders, arguments.device)
                yield name, sections.steps(cases[name], own, arguments.steps, blocks, data, folder / name)
        case "batches":
            for size in arguments.batch_sizes:
                where = folder / f"batch_{size}"
                yield str(size), sections.batch_size(cases["512-256"], size, max(2, blocks // 4), data, where)
        case "denormals":
            for name in ("plain", "ours"):
                yield name, sections.ageing(name, arguments.late, blocks, data, folder / "ageing")
        case "evaluation":
            settings = {"steps": arguments.steps, "images": arguments.eval_images, "samples": arguments.eval_samples}
            settings |= {"data": str(data), "device": arguments.device}
            yield from sections.measured_by("evaluation", settings, folder).items()
        case "bound":
            of = (arguments.nats, arguments.val_images, arguments.device)
            yield from sections.time_to_bound(*of, data, folder).items()
        case "whole":
            of = (arguments.epochs, arguments.eval_samples, arguments.device)
            yield from sections.whole(*of, data, folder).items()
        case "startup":
            yield from sections.startup(arguments.starts, data, folder).items()
        case "stacked":
            for size in arguments.stacks:
                where = folder / f"stack_{size}"
                yield str(size), sections.stacked(cases["vae_mnist"], size, arguments.stack_steps, data, where)
        case "profile":
            settings = {"data": str(data), "cases": [name for name in arguments.cases if cases[name].model == "vae"]}
            yield from sections.measured_by("parts", settings | {"steps": 50 * blocks}, folder).items()
        case "estimators":
            settings = {"data": str(data), "repeats": arguments.repeats, "latents": arguments.latents}
            yield from sections.measured_by("estimators", settings, folder).items()


def available(case: str, names: list[str], device: str) -> list[str]:
    """The contenders that exist for a case and on this machine."""
    absent = {"template"} if CASES[case].model == "semi_supervised" else set()
    if device != "cpu" or not torch.backends.mkldnn.is_available():
        absent.add("onednn_products")
    return [name for name in names if name not in absent]


def machine(device: str) -> dict[str, Any]:
    """The hardware and versions that times depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {
        "cpu": cpu,  # a virtual one may go by its maker's name alone
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        **({"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda} if device == "cuda" else {}),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }

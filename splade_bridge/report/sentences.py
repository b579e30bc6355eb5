"""What the report says in sentences: what to take home, what to doubt, how it was measured."""

from __future__ import annotations

from splade_bridge.report import text
from splade_bridge.report.results import Results

BUSY = 0.5
"""Load a processor from which on something else was running while latencies were measured."""
DRIFT = 0.1


def findings(results: Results) -> list[str]:
    """What to take home, one sentence an engine and k."""
    safe = [
        v
        for v in results.others()
        if results.main in v.tests
        and (v.tests[results.main].difference >= 0 or not v.tests[results.main].significant)
    ]
    found = []
    for engine in results.engines:
        for k in results.ks:
            base = results.base.fastest(engine, k)
            timed = [(t.mean, v.name, v, t) for v in safe if (t := v.fastest(engine, k))]
            if base is None or not timed:
                continue
            _, _, v, t = min(timed, key=lambda entry: entry[:2])
            if t.mean >= base.mean:
                continue
            test = v.tests[results.main]
            found.append(
                f"{engine}, k = {k}: the fastest variant without a shown loss is {v.name}, "
                f"{text.milliseconds(t.mean)} ms against {text.milliseconds(base.mean)} ms a query "
                f"({base.mean / t.mean:.1f} times faster, {t.algorithm}), with "
                f"{text.share(v.postings / results.base.postings)} of the postings and "
                f"{results.main} {text.measured(test.mean_second)} against "
                f"{text.measured(test.mean_first)}."
            )
    return found


def warnings(results: Results) -> list[str]:
    """What makes figures doubtful, one sentence each."""
    said = []
    split = [v.name for v in results.variants if not v.engines_agree]
    if split:
        said.append(
            f"The engines did not return the same rankings for {', '.join(split)}: run "
            "splade-bridge verify on their indexes before believing any figure."
        )
    for number, s in enumerate(results.sessions):
        when = f"{s.started[:16]} UTC"
        if s.load > BUSY:
            said.append(
                f"Other programs were running when latencies were measured ({when}: "
                f"{s.load:.1f} running processes for each processor): compare them with care."
            )
        if s.noisy:
            said.append(
                f"{s.noisy} of {s.cases} latencies varied by more than {DRIFT:.0%} between repeats "
                f"({when}): the machine was too noisy to tell small differences."
            )
        if number and abs(s.anchor - 1) > DRIFT:
            said.append(
                f"Latencies were measured at different times, and the baseline took {s.anchor:.2f} "
                f"times as long on {when} as at first: measure all together with --rebench."
            )
    return said


def method(results: Results) -> list[str]:
    """How it was measured."""
    timed = [t for v in results.variants for t in v.latencies]
    said = [
        f"Every engine searched the same {results.queries:,} judged queries for each variant, to "
        f"depth {results.depth}; measures are means over {results.judged:,} judged queries, and "
        "one without results counts as 0.",
        "All indexes were checked against their input when they were built (documents, postings, "
        "sum of impacts), and the runs of all engines compared byte for byte"
        + (": all are the same." if all(v.engines_agree for v in results.variants) else "."),
    ]
    if timed:
        said.append(
            f"Latencies are of the retrieval alone: queries were encoded before, one thread, warm "
            f"(an untimed pass first), {timed[0].queries:,} queries, {timed[0].repeat} repeats, "
            "interleaved over all variants, engines and algorithms, after all indexes were built."
        )
    for engine in results.engines:
        found = [(v.name, i.recall) for v in results.variants if (i := v.index(engine)).recall]
        if found:
            told = "; ".join(
                f"{name}: "
                + ", ".join(f"{share:.2%} of the top {k}" for k, share in recall.items())
                for name, recall in found
            )
            said.append(
                f"{engine} answers approximately, with exact scores, and is left out where runs "
                f"are compared. What it finds of the exact results of some queries: {told}."
            )
    if any(v.parts for v in results.variants):
        said.append(
            "What a fusion costs is the sum of its parts: their latencies at the depth of the "
            "fusion, one after the other, each with its fastest algorithm (merging the lists is "
            "not in it); their postings and the sizes of their indexes, each index once."
        )
    return said

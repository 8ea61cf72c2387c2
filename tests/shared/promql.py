"""Asking Prometheus' own evaluator (`promtool test rules`) about PromQL and rule files."""

import json
import subprocess


def assert_promql(promtool, folder, given, asked, *, rule_files=(), at="30s"):
    """That every expression in `asked` yields its samples (`labels`, `value`) at that time.

    `given`: series → values in promtool's notation, two seconds apart.
    """
    test = {
        "rule_files": [str(file) for file in rule_files],
        "evaluation_interval": "2s",
        "tests": [
            {
                "interval": "2s",
                "input_series": [{"series": series, "values": values} for series, values in given.items()],
                "promql_expr_test": [
                    {"expr": expr, "eval_time": at, "exp_samples": samples} for expr, samples in asked.items()
                ],
            }
        ],
    }
    file = folder / "test.yml"
    file.write_text(json.dumps(test), encoding="utf-8")
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

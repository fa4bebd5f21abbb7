"""Known vulnerabilities of the installed dependencies, by pip-audit: python scripts/audit.py

Ends with exit code 1 where there are any, and with 2 where nothing could be looked up: offline, or where the package
index is one without such data.
"""

import json
import subprocess
import sys


def main() -> None:
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner=off", "--format=json"]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"not audited: {reason}", file=sys.stderr)
        sys.exit(2)
    checked = [dependency for dependency in dependencies if "vulns" in dependency]
    unknown = [dependency["name"] for dependency in dependencies if "vulns" not in dependency]
    if not checked:
        print(
            f"not audited: of {len(unknown)} packages none could be looked up; this needs the public package index",
            file=sys.stderr,
        )
        sys.exit(2)
    found = [(each, vulnerability) for each in checked for vulnerability in each["vulns"]]
    for each, vulnerability in found:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        print(f"{each['name']} {each['version']}: {vulnerability['id']}, fixed in {fixed}")
    print(
        f"{len(checked)} packages audited, {len(found)} vulnerabilities; not looked up: {', '.join(unknown) or 'none'}"
    )
    sys.exit(bool(found))


if __name__ == "__main__":
    main()

"""What a run has found so far: every figure is on disk as soon as it is known, so a run that breaks off can go on."""

import json
import os


class Results:
    """The results of a run. While it goes on they are appended to PATH.journal, one line of JSON for each figure; `finish` writes
    PATH and removes the journal."""

    def __init__(self, path, header=None, resume=False):
        self.path, self.journal = path, path + ".journal"
        self.data = _nothing_yet()
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        self.resumed = resume and os.path.exists(self.journal)
        if self.resumed:
            whole = _replay(self.journal, self.data)
            os.truncate(self.journal, whole)
        elif os.path.exists(self.journal):
            os.replace(self.journal, self.journal + ".old")     # somebody may have forgotten --resume
        self._file = open(self.journal, "a" if self.resumed else "w")
        if header and not self.resumed:
            self._append("header", header)

    def set(self, kind, key, value):
        self._append(kind, value, key)

    def set_header(self, key, value):
        self._append("header", {key: value})

    def add_cell(self, target, metric, round_number, cell):
        self._append("cells", cell, target, metric, str(round_number))

    def has_cell(self, target, metric, round_number):
        return str(round_number) in self.data["cells"].get(target, {}).get(metric, {})

    def add_repetition(self, kind, target, value):
        """Of `mem` and `startup`: one more of several."""
        self._append(kind, value, target)

    def repetitions(self, kind, target):
        return len(self.data[kind].get(target, []))

    def add_growth(self, kind, product, value):
        self._append("growth", value, kind, product)

    def has_growth(self, kind, product, count, repetition=None):
        return any(
            x["count"] == count and (repetition is None or x.get("repetition") == repetition)
            for x in self.data["growth"].get(kind, {}).get(product, [])
        )

    def waited(self, seconds):
        self._append("waited", seconds)

    def close(self):
        """Stop here; the journal stays."""
        self._file.close()

    def finish(self):
        """Write everything as one JSON file."""
        self.close()
        with open(self.path + ".new", "w") as file:
            json.dump(self.data, file, indent=1)
        os.replace(self.path + ".new", self.path)
        os.unlink(self.journal)

    def _append(self, kind, value, *keys):
        record = [kind, list(keys), value]
        _apply(self.data, record)
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()


def load(path):
    """The results of a finished run, or of a journal."""
    data = _nothing_yet()
    if path.endswith(".journal"):
        _replay(path, data)
    else:
        with open(path) as file:
            data.update(json.load(file))
    return data


def _nothing_yet():
    return {"cells": {}, "mem": {}, "startup": {}, "binary": {}, "profile": {}, "failed": {}, "growth": {}, "waited": 0.0}


def _replay(path, data):
    """Put what a journal says into DATA. Returns its length up to the last whole line: a run may break off within one."""
    whole = 0
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            _apply(data, json.loads(line))
            whole += len(line)
    return whole


def _apply(data, record):
    kind, keys, value = record
    if kind == "header":
        data.update(value)
    elif kind == "cells":
        data["cells"].setdefault(keys[0], {}).setdefault(keys[1], {})[keys[2]] = value
    elif kind in ("mem", "startup"):
        data[kind].setdefault(keys[0], []).append(value)
    elif kind == "growth":
        data["growth"].setdefault(keys[0], {}).setdefault(keys[1], []).append(value)
    elif kind == "waited":
        data["waited"] += value
    else:
        data[kind][keys[0]] = value

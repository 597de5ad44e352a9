"""Marked functions: kept while a trace runs, and otherwise the functions that they are."""

import pickle
import subprocess
import sys
import threading

import cloudpickle
import numpy as np

from tallystick.gate import stages
from tallystick.gate.stages import recording, stage


@stage("clip")
def clip(values, low=0):
    """Return no value below `low`."""
    return np.maximum(values, low)


class Model:
    @stage("shift")
    def shift(self, values):
        return values + 1


def test_nothing_is_kept_without_a_trace():
    assert clip(np.array([-1])).tolist() == [0]
    with recording() as kept:
        pass
    assert kept == []


def test_outputs_are_kept_in_order_and_repeats_are_numbered():
    with recording() as kept:
        clip(np.array([-1]))
        Model().shift(np.array([1]))
        clip(np.array([5]), low=9)
    assert [(name, value.tolist()) for name, value in kept] == [("clip", [0]), ("shift", [2]), ("clip#2", [9])]


def test_what_is_kept_does_not_change_with_what_was_given():
    values = np.array([1.0])
    with recording() as kept:
        clip(values)[0] = 7.0
    assert kept[0][1].tolist() == [1.0]


def test_calls_of_each_row_are_bounded():
    with recording() as kept:
        for _ in range(stages.MOST_CALLS + 5):
            clip(np.zeros(1))
    assert len(kept) == stages.MOST_CALLS


def test_other_threads_are_not_listened_to():
    with recording() as kept:
        thread = threading.Thread(target=clip, args=(np.zeros(1),))
        thread.start()
        thread.join()
    assert kept == []


def test_a_marked_function_keeps_its_name_and_docstring():
    assert (clip.__name__, clip.__doc__) == ("clip", "Return no value below `low`.")


def test_pickles_by_name_where_it_can_be_imported():
    assert pickle.loads(pickle.dumps(clip)) is clip


def test_a_script_s_own_marked_function_travels_in_a_model(tmp_path):
    """Needs processes: what is written in one's `__main__` is read in another's."""
    write = (
        "import cloudpickle, sys\nfrom tallystick.gate.stages import stage\n"
        "@stage('double')\ndef double(x):\n    return 2 * x\n"
        "open(sys.argv[1], 'wb').write(cloudpickle.dumps({'f': double}))\n"
    )
    path = tmp_path / "model.pkl"
    subprocess.run([sys.executable, "-c", write, str(path)], check=True)
    double = cloudpickle.loads(path.read_bytes())["f"]
    with recording() as kept:
        assert double(4) == 8
    assert kept == [("double", 8)]

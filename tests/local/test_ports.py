from __future__ import annotations

import socket

from facecore.local import ports


def listener() -> socket.socket:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    return server


def test_a_taken_port_is_not_free() -> None:
    with listener() as server:
        assert not ports.is_free(server.getsockname()[1])


def test_all_different_and_remembered() -> None:
    first = ports.choose({}, standard=False)
    assert set(first) == set(ports.NAMES)
    assert len(set(first.values())) == len(first)
    assert ports.choose(first, standard=False) == first


def test_only_the_taken_one_is_chosen_anew() -> None:
    first = ports.choose({}, standard=False)
    with listener() as server:
        taken = {**first, "mlflow": server.getsockname()[1]}
        second = ports.choose(taken, standard=False)
    assert second["mlflow"] != taken["mlflow"]
    assert {k: v for k, v in second.items() if k != "mlflow"} == {
        k: v for k, v in first.items() if k != "mlflow"
    }


def test_a_standard_port_is_preferred_but_not_required() -> None:
    chosen = ports.choose({}, standard=True)
    for name, port in ports.STANDARD.items():
        assert chosen[name] == port or not ports.is_free(port)

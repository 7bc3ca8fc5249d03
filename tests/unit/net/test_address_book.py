"""Whom to ask, and what of it outlives the process."""

from __future__ import annotations

from pathlib import Path

from khala.net.address_book import AddressBook


def test_the_book_takes_turns_and_asks_the_blamed_last() -> None:
    book = AddressBook(["a:1", "b:1", "a:1"])
    assert {tuple(book.order()) for _ in range(4)} == {("a:1", "b:1"), ("b:1", "a:1")}
    book.learn(["c:1"])
    book.blame("c:1")
    book.blame("a:1")
    assert {book.order()[0] for _ in range(6)} == {"b:1"}
    book.praise("a:1")
    assert {book.order()[0] for _ in range(6)} == {"a:1", "b:1"}
    assert AddressBook([]).order() == []


def test_what_the_cluster_told_of_outlives_the_process(tmp_path: Path) -> None:
    file = tmp_path / "judicators.json"
    AddressBook(["a:1"], file).learn(["a:1", "b:1", "c:1"])
    assert AddressBook(["a:1"], file).addresses == ["a:1", "b:1", "c:1"]
    assert list(tmp_path.iterdir()) == [file]


def test_one_that_is_left_does_not_make_the_others_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "judicators.json"
    book = AddressBook(["a:1"], file)
    book.learn(["a:1", "b:1"])
    book.learn(["b:1"])
    book.learn([])
    assert book.addresses == ["b:1", "a:1"]
    assert AddressBook(["a:1"], file).addresses == ["a:1", "b:1"]


def test_a_note_that_cannot_be_read_or_written_is_done_without(tmp_path: Path) -> None:
    file = tmp_path / "judicators.json"
    file.write_text("not a list")
    assert AddressBook(["a:1"], file).addresses == ["a:1"]
    book = AddressBook(["a:1"], tmp_path / "no" / "such" / "folder.json")
    book.learn(["a:1", "b:1"])
    assert book.addresses == ["a:1", "b:1"]

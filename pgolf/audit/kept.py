"""Answers that are kept for whoever asks the same again, as many as find room."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Kept(Generic[Answer]):
    """Answers by their questions; the one that was asked for longest ago goes first. size: bytes of an answer."""

    def __init__(self, most_bytes: int, size: Callable[[Answer], int]) -> None:
        self._room, self._size = most_bytes, size
        self._answers: OrderedDict[Hashable, Answer] = OrderedDict()

    def get(self, question: Hashable) -> Answer | None:
        """The answer, if it is there."""
        return self._answers.get(question)

    def of(self, question: Hashable, make: Callable[[], Answer]) -> Answer:
        """The answer, made if it is not there."""
        if question in self._answers:
            self._answers.move_to_end(question)
            return self._answers[question]
        answer = self._answers[question] = make()
        self._room -= self._size(answer)
        while self._room < 0 and len(self._answers) > 1:
            self._room += self._size(self._answers.popitem(last=False)[1])
        return answer

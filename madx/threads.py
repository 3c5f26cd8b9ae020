"""torch's number of threads, for single threads of the process."""

import threading

import torch

_changing = threading.Lock()


class OneThread:
    """Makes a thread compute by itself: `begin` is what it calls first.

    torch keeps the number for each thread that has computed, and one more for those that will for the first time,
    which must stay as it was.
    """

    def __init__(self) -> None:
        self._for_others = torch.get_num_threads()

    def begin(self) -> None:
        with _changing:
            torch.get_num_threads()  # the first question in a thread sets its number, to that for others
            torch.set_num_threads(1)
            restoring = threading.Thread(target=torch.set_num_threads, args=(self._for_others,))
            restoring.start()
            restoring.join()

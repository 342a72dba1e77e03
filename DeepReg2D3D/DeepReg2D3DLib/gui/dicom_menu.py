"""A menu of the X-ray series in Slicer's DICOM database: patient, then series; nothing is loaded to fill it."""

from __future__ import annotations

from collections.abc import Callable

import qt
from slicer.i18n import tr as _

from .application import dicomDatabase

MODALITIES = ("XA", "RF", "XRF", "DX", "CR", "RTIMAGE")


class DicomMenu:
    """Fills itself whenever it is opened.

    Args:
        button: the button that opens it.
        chosen: f(path, name), called with the first file of the series that was chosen, and a name for the view.
    """

    def __init__(self, button, chosen: Callable[[str, str], None]) -> None:
        self._chosen = chosen
        # Kept: a Qt object without a wrapper would be gone.
        self._menu = qt.QMenu(button)
        self._kept: list = []
        self._menu.aboutToShow.connect(self.fill)
        button.setMenu(self._menu)

    def fill(self) -> None:
        """Lists the patients; each one's series are looked up when its submenu opens."""
        self._menu.clear()
        self._kept = []
        database = dicomDatabase()
        patients = list(database.patients()) if database is not None else []
        if not patients:
            self._tell(self._menu, _("Slicer's DICOM database holds nothing: import files in the DICOM module first."))
        for patient in patients:
            menu = self._menu.addMenu(database.nameForPatient(patient) or _("Unnamed patient"))
            self._kept.append(menu)
            menu.aboutToShow.connect(self._filler(menu, patient))

    def _filler(self, menu, patient: str) -> Callable:
        def fill(*_args):
            if not menu.isEmpty():
                return
            for text, series in xray_series(dicomDatabase(), patient):
                action = menu.addAction(text)
                action.triggered.connect(self._chooser(series, text))
                self._kept.append(action)
            if menu.isEmpty():
                self._tell(menu, _("No X-ray images."))

        return fill

    def _chooser(self, series: str, text: str) -> Callable:
        def choose(*_args):
            files = list(dicomDatabase().filesForSeries(series, 1))
            if files:
                self._chosen(files[0], text)

        return choose

    def _tell(self, menu, text: str) -> None:
        action = menu.addAction(text)
        action.setEnabled(False)
        self._kept.append(action)


def xray_series(database, patient: str) -> list[tuple[str, str]]:
    """(text, series UID) of a patient's X-ray series: modality, number, description and date; no name."""
    found = []
    for study in database.studiesForPatient(patient):
        date = database.fieldForStudy("StudyDate", study) or ""
        for series in database.seriesForStudy(study):
            modality = database.fieldForSeries("Modality", series) or ""
            if modality in MODALITIES:
                parts = (
                    modality,
                    database.fieldForSeries("SeriesNumber", series),
                    database.descriptionForSeries(series),
                    date,
                )
                found.append((" ".join(str(part) for part in parts if part), series))
    return found

"""Names in public data sets that are one person: comparing them is not an impostor comparison.

At a false-match rate of 1e-6 a handful of wrong labels decides the threshold. These were found
by looking at the photographs behind the highest impostor scores of all 14 million; pairs that
merely look alike stay impostors. What is left out is recorded with each calibration.
"""

from __future__ import annotations

from collections.abc import Mapping

# Labeled Faces in the Wild.
ONE_PERSON: Mapping[tuple[str, str], str] = {
    ("Hasan_Wirayuda", "Hassan_Wirajuda"): "one name, two spellings",
    ("Chyung_Dai-chul", "Dai_Chul_Chyung"): "one name, two orders",
    ("Cristina_Fernandez", "Cristina_Kirchner"): "a photograph of the latter is in the former",
    ("Gabrielle_Rose", "Martha_Bowen"): "one photograph is in both",
    ("Flor_Montulo", "Nora_Bendijo"): "photographs of each are in the other",
}

"""The words of days and hours, in every language: how a member writes them, and how the bot says them.

A word becomes a symbol the grammar of days.py reads: W1 (Monday) … W7, M1 … M12, R0 (today), R1, R2, parts of the day,
AT, H and OCL ("o'clock", "baje") beside an hour, PRE30 ("saadhe 6", "half past 6"), POST30 ("6 y media"), NEXT, THIS, and "" for a word
that says nothing. A word with two meanings has both.
"""

from bot.languages.folding import fold

WEEKDAYS_SAID = {
    "en": ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
    "es": ["lun", "mar", "mie", "jue", "vie", "sab", "dom"],
    "hi": ["सोम", "मंगल", "बुध", "गुरु", "शुक्र", "शनि", "रवि"],
    "hi-Latn": ["Som", "Mangal", "Budh", "Guru", "Shukra", "Shani", "Ravi"],
}
MONTHS_SAID = {
    "en": ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    "es": ["ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sep", "oct", "nov", "dic"],
    "hi": ["जन", "फर", "मार्च", "अप्रैल", "मई", "जून", "जुलाई", "अग", "सितं", "अक्टू", "नवं", "दिसं"],
    "hi-Latn": ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
}

_SPELLINGS = {
    "W1": "mon monday lunes lun som somvar somwar somvaar somwaar सोम सोमवार",
    "W2": "tue tues tuesday martes mangal mangalvar mangalwar mangalvaar mangalwaar मंगल मंगलवार",
    "W3": "wed weds wednesday miercoles mie mier budh budhvar budhwar budhvaar budhwaar बुध बुधवार",
    "W4": "thu thur thurs thursday jueves jue guru guruvar guruwar guruvaar guruwaar brihaspativar veervar गुरु गुरू गुरुवार गुरूवार "
    "बृहस्पतिवार वीरवार",
    "W5": "fri friday viernes vie shukra shukravar shukrawar shukravaar shukrawaar shukr शुक्र शुक्रवार",
    "W6": "sat saturday sabado sab shani shanivar shaniwar shanivaar shaniwaar शनि शनिवार",
    "W7": "sun sunday domingo dom ravi ravivar raviwar ravivaar raviwaar itvar itwar itvaar itwaar रवि रविवार इतवार",
    "M1": "jan january enero ene janvari janwari जन जनवरी",
    "M2": "feb february febrero farvari farwari फर फरवरी फ़रवरी",
    "M3": "march marzo मार्च",
    "M4": "apr april abril abr aprail अप्रैल",
    "M5": "may mayo mai मई",
    "M6": "jun june junio जून",
    "M7": "jul july julio julai जुलाई",
    "M8": "aug august agosto ago agast अग अगस्त",
    "M9": "sep sept september septiembre setiembre sitambar sitambar सितं सितंबर सितम्बर",
    "M10": "oct october octubre aktubar october अक्टू अक्टूबर अक्तूबर",
    "M11": "nov november noviembre navambar नवं नवंबर नवम्बर",
    "M12": "dec december diciembre dic disambar दिसं दिसंबर दिसम्बर",
    "R0": "today hoy aaj आज",
    # "kal" is also yesterday; what is asked for here always lies ahead.
    "R1": "tomorrow tomorow tommorow tommorrow tmrw tmr tmrow 2moro kal कल",
    "R2": "parso parson परसों परसो overmorrow",
    "AM": "am",
    "PM": "pm",
    "MORN": "morning subah subha savere sawere सुबह सवेरे",
    "AFT": "afternoon tarde dopahar dopehar दोपहर",
    "EVE": "evening shaam sham शाम",
    "NIGHT": "night noche raat rat रात",
    "DAWN": "madrugada",
    "NOON": "noon midday mediodia",
    "AT": "at @ las",
    "H": "h hs hr hrs hour hours hora horas",
    "OCL": "oclock baje bje बजे",
    "PRE30": "saadhe sadhe साढ़े साढे halfpast",
    "PRE15": "sava savaa सवा quarterpast",
    "PRE-15": "paune पौने quarterto",
    "POST30": "ymedia",
    "POST15": "ycuarto",
    "NEXT": "next coming proximo proxima queviene agle agla agli अगले अगला",
    "THIS": "this este esta",
    "N1": "first primero primer una pehli",
    "": "on of the in de del el la los a en por al para for is by around about sharp punto please pls favor th st nd rd o ro er "
    "ko ke ki को के की tarikh tareekh तारीख din दिन",
}
SYMBOLS: dict[str, tuple[str, ...]] = {fold(word): (symbol,) for symbol, line in _SPELLINGS.items() for word in line.split()}
# Spanish Tuesday or March; never Tuesday at a bare number ("mar 3"), hence its own sign.
SYMBOLS["mar"] = ("M3", "W2?")
SYMBOLS["manana"] = ("R1", "MORN")
SYMBOLS["tonight"] = ("R0 NIGHT",)

# Phrases that are one word to the grammar.
PHRASES = {
    "day after tomorrow": "overmorrow",
    "pasado manana": "overmorrow",
    "half past": "halfpast",
    "quarter past": "quarterpast",
    "quarter to": "quarterto",
    "y media": "ymedia",
    "y cuarto": "ycuarto",
    "que viene": "queviene",
    "o clock": "oclock",
    "aane wale": "next",
    "medio dia": "mediodia",
}

# The hours (24 h) that an hour of 1 to 12 may be in each part of the day. What is left out is not sure enough to guess:
# "12 at night" lies between two dates, and so does "2 at night".
PARTS: dict[str, frozenset[int]] = {
    "AM": frozenset(range(12)),
    "PM": frozenset(range(12, 24)),
    "MORN": frozenset(range(1, 12)),
    "AFT": frozenset(range(12, 20)),
    "EVE": frozenset(range(15, 23)),
    "NIGHT": frozenset(range(18, 24)),
    "DAWN": frozenset(range(1, 7)),
}

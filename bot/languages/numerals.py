"""Number words, and the signs people use for digits, in every language the bot understands. All keys are in folded form."""

from bot.languages.folding import fold

_UNITS = {
    0: "zero cero shunya sunya शून्य",
    1: "one uno una ek एक",
    2: "two dos do दो",
    3: "three tres teen तीन",
    4: "four cuatro char chaar चार",
    5: "five cinco paanch panch paach पांच पाँच पंच",
    6: "six seis chhe chhah chah che chhai छह छः छे छै",
    7: "seven siete saat सात",
    8: "eight ocho aath ath आठ",
    9: "nine nueve nau नौ",
    10: "ten diez das dus दस",
    11: "eleven once gyarah gyara ग्यारह",
    12: "twelve doce barah baara बारह",
    13: "thirteen trece terah तेरह",
    14: "fourteen catorce chaudah चौदह",
    15: "fifteen quince pandrah पंद्रह पन्द्रह",
    16: "sixteen dieciseis solah सोलह",
    17: "seventeen diecisiete satrah सत्रह",
    18: "eighteen dieciocho atharah अठारह",
    19: "nineteen diecinueve unnis उन्नीस",
}
_TENS = {
    20: "twenty veinte bees bis बीस",
    30: "thirty treinta tees तीस",
    40: "forty fourty cuarenta chalis chaalis चालीस",
    50: "fifty cincuenta pachas pachaas पचास",
    60: "sixty sesenta saath साठ",
    70: "seventy setenta sattar सत्तर",
    80: "eighty ochenta assi अस्सी",
    90: "ninety noventa nabbe नब्बे",
}
_JOINED = "veintiuno veintidos veintitres veinticuatro veinticinco veintiseis veintisiete veintiocho veintinueve"

NUMBER_WORDS: dict[str, int] = {fold(word): value for value, line in (_UNITS | _TENS).items() for word in line.split()}
NUMBER_WORDS |= {word: value for value, word in enumerate(_JOINED.split(), start=21)}

_ENGLISH_AND_SPANISH = {fold(word) for line in _TENS.values() for word in line.split()[:2]}


def read_digits(word: str) -> int | None:
    """The value of a word of digits in any script ("12", "१२"); None for anything else."""
    return int(word) if word.isdecimal() and len(word) <= 9 else None  # Python refuses to read thousands of digits


def read_number_words(tokens: list[str]) -> int | None:
    """The one number that all of `tokens` say together ("12", "dos", "twenty five", "treinta y cinco"); None for none or several."""
    if len(tokens) == 1:
        digits = read_digits(tokens[0])
        return NUMBER_WORDS.get(tokens[0]) if digits is None else digits
    if len(tokens) == 3 and tokens[1] == "y":
        tokens = [tokens[0], tokens[2]]
    if len(tokens) == 2 and tokens[0] in _ENGLISH_AND_SPANISH and 1 <= NUMBER_WORDS.get(tokens[1], 0) <= 9:
        return NUMBER_WORDS[tokens[0]] + NUMBER_WORDS[tokens[1]]
    return None

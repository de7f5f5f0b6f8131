"""Which texts ask us to stop texting. One table a language; organizers and translators may add lines."""

import time

import pytest

from bot.languages import fold
from bot.languages.stop_phrases import OUR_STOP, STOP_WORDS, TWILIO_STOP, judge_stop

STOP = """
stop
STOP!!!
Stop.
stop please
please stop
pls stop
Stop stop stop
i said stop
STOPALL
stop all
Unsubscribe
unsubscribe me
Please unsubscribe me from this list
opt out
Opt-out
i want to opt out
opt me out of these messages
please stop texting me
Stop texting me!
stop texting
STOP MESSAGING ME
can you please stop texting me
I want you to stop texting me
I asked you to stop texting me
stop sending me messages
stop sending these texts
stop the messages
no more messages
No more texts please
no more sms
don't text me
Do not text me again
dont message me anymore
do not contact me
don't send me any more messages
take me off this list
Please remove me from your list
remove me
remove my number
delete my number
take me off your text list
i don't want these messages
I no longer want to receive these texts
i dont want to get messages from you anymore
lose my number
Who is this? Stop texting me.
Wrong person. Take me off this list, thanks
cancel my subscription
ya no me manden mensajes
no me manden más mensajes
No me manden mensajes por favor
no me escriban
ya no me escriban
no me envíen más SMS
dejen de mandarme mensajes
deja de escribirme
por favor dejen de enviar mensajes
paren los mensajes
no más mensajes
No mas sms
no quiero recibir más mensajes
ya no quiero mensajes
no quiero sus mensajes
quítenme de la lista
Sáquenme del grupo
bórrenme
borren mi número
baja
BAJA.
denme de baja
quiero darme de baja
cancelar suscripción
¿Quién es? No me manden mensajes
band karo ye sms
band karo
Band karo!
sms band karo
ye message band karo
message band kar do
message bhejna band karo
msg band kijiye
please band karo
mujhe message mat bhejo
message mat bhejo
mat bhejo
mujhe sms nahi chahiye
aur message nahi chahiye
mera number hata do
mujhe list se hata do
stop karo
sms stop karo
unsubscribe karo
मुझे मैसेज मत भेजो
मैसेज मत भेजिए
मैसेज बंद करो
बंद करो
एसएमएस बंद कर दो
कृपया संदेश भेजना बंद करें
मुझे संदेश नहीं चाहिए
और मैसेज नहीं चाहिए
मेरा नंबर हटा दो
मुझे सूची से हटाइए
मुझे लिस्ट से निकाल दो
"""

DOUBT = """
can you stop
could you please stop
stop it
stop this
stop these
sáquenme
stpo
stopp
s t o p
I don't want this
i dont want to be on this list
not interested
leave me alone
how do i stop these messages
too many texts
stop texting my wife
stop sending messages to my sister
please cancel
no quiero esto
no me interesa
déjenme en paz
no molesten
paren
¿cómo me doy de baja?
ye band karo
nahi chahiye
mujhe pareshan mat karo
tang mat karo
ये बंद करो
नहीं चाहिए
मुझे परेशान मत करो
मुझे अकेला छोड़ दो
मैसेज कैसे बंद होंगे
"""

NEITHER = """
We have got to STOP this bill
We have got to STOP this terrible bill from passing!!
stop deportation
Stop the deportations now
stop evictions
STOP LINE 3
stop asian hate
stop police violence
STOP 12345
stop 2
the bus stop is far
is there a bus stop near the square?
I will stop by at 6
We won't stop until we win
don't stop
Can't stop, won't stop
nonstop
make it stop
please make it stop
I want to end it all
end of the line?
when does it end
I quit my job
cancel the rent
cancel rent now
he won't stop texting me
my ex keeps texting me, he wont stop
tell him to stop texting me
I told him stop texting me
my husband says stop texting me
he says he will not stop sending me messages
I don't want messages from him
take me off the night shift
remove the barricade
take me
get me out of here
drop me off at the square
sáquenme de aquí
no more police
no more deaths
no more evictions
not now
no
yes
I can't come, stop at my place later?
We must stop texting while driving and get to work
don't text me at work, call my sister
opt out of the vote means abstain?
alto
¡Alto!
alto al fuego
paro
paro nacional mañana
basta
¡Basta ya!
ya basta de mentiras
no más muertes
no más violencia
no más deportaciones
baja la voz
la calle baja
el bus no para aqui
mi ex no deja de mandarme mensajes
él no para de escribirme
no quiero ir sola
no puedo ir
ya no puedo más
paren los desalojos
dejen de matar
parada del bus
ruko
ruko zara
Ruko!
bas
bas kahan hai
bas stop kahan hai
bharat band
bharat band kab hai
band karo ye zulm
band karo ye dadagiri
zulm band karo
dukan band karo
thana band hai
phone band karo
wo message bhejna band nahi karta
usko bolo message mat bheje
nahi
mat jao
रुको
बस
बस कहाँ रुकेगी
भारत बंद
ज़ुल्म बंद करो
हिंसा बंद करो
दुकान बंद करो
वह मैसेज भेजना बंद नहीं करता
मत जाओ
नहीं
"""


def lines(table: str) -> list[str]:
    return [line for line in table.splitlines() if line]


@pytest.mark.parametrize("text", lines(STOP))
def test_a_plain_request_is_honoured(text: str) -> None:
    assert judge_stop(text) == "stop"


@pytest.mark.parametrize("text", lines(DOUBT))
def test_a_doubtful_one_is_asked_about(text: str) -> None:
    assert judge_stop(text) == "doubt"


@pytest.mark.parametrize("text", lines(NEITHER))
def test_talk_about_stopping_something_else_is_left_alone(text: str) -> None:
    assert judge_stop(text) is None


def test_every_stop_word_is_a_request() -> None:
    assert {word for word in STOP_WORDS if judge_stop(word) != "stop"} == set()


def test_stop_words_stand_in_the_form_texts_are_compared_in() -> None:
    assert {word for word in STOP_WORDS if fold(word) != word} == set()


def test_no_word_of_a_crowd_opts_out() -> None:
    assert not STOP_WORDS & {"ruko", "bas", "paro", "alto", "basta", "रुको", "बस", "paren", "parar", "fin", "salir", "band", "बंद"}


def test_ours_and_the_carriers_do_not_overlap() -> None:
    assert len(TWILIO_STOP) == 8
    assert not OUR_STOP & TWILIO_STOP


@pytest.mark.parametrize("text", ["", " ", "!!!", "\x00", "👍", "stop " * 400, "message " * 200, "mujhe " * 300 + "x", "और " * 500])
def test_any_text_is_judged_quickly(text: str) -> None:
    began = time.perf_counter()
    judge_stop(text)
    assert time.perf_counter() - began < 1

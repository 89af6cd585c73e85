"""The sounds beside the scene in a few readable words: "speech, footsteps, traffic".

A table puts AudioSet's names of sounds into words that people read, and says which sound is a kind of which. A line is
a word and the names that it stands for; below it, indented, stand its kinds. Names of the same meaning to a listener
share a word, and a speaker's sex is not named. Names after `-` are left out: they say where the recorder stood or what
the recording is, not what sounds. A name that is not listed stands for itself.

Shapes: B windows, M tags, W words.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from avgan.runtime.bundle import Tags

MOST_WORDS = 5
"""In a window: what a listener names of ten seconds of a street; a longer list is read by nobody."""

_TREE = """
-: Inside, small room; Inside, large room or hall; Inside, public space; Outside, urban or manmade; \
Outside, rural or natural; Silence; Sound effect; Field recording; Environmental noise; Sidetone; Harmonic; Hands; \
Sampler; Effects unit; Chorus effect; Distortion; Reverberation; Echo; Television; Radio; Pulse; Mechanisms
speech: Speech; Male speech, man speaking; Female speech, woman speaking; Conversation; Narration, monologue; \
Speech synthesizer; Babbling
 child speaking: Child speech, kid speaking
whispering: Whispering
shouting: Shout; Bellow; Whoop; Yell; Battle cry
 children shouting: Children shouting
screaming: Screaming
laughter: Laughter; Baby laughter; Giggle; Snicker; Belly laugh; Chuckle, chortle
crying: Crying, sobbing; Whimper; Wail, moan
 baby crying: Baby cry, infant cry
singing: Singing; Yodeling; Chant; Mantra; Male singing; Female singing; Child singing; Synthetic singing; A capella
 choir: Choir
groaning: Groan; Grunt
breathing: Breathing; Wheeze; Gasp; Pant; Snort
 snoring: Snoring
coughing: Cough; Throat clearing
sneezing: Sneeze
sniffing: Sniff
running: Run
footsteps: Walk, footsteps; Shuffle
eating: Chewing, mastication; Biting
burping: Burping, eructation
heartbeat: Heart sounds, heartbeat; Heart murmur
crowd: Crowd; Hubbub, speech noise, speech babble; Chatter
 children playing: Children playing
 applause: Applause; Clapping
 cheering: Cheering
animal: Animal; Domestic animals, pets; Livestock, farm animals, working animals; Wild animals
 dog: Dog; Bark; Yip; Howl; Bow-wow; Growling; Whimper (dog); Canidae, dogs, wolves
 cat: Cat; Purr; Meow; Hiss; Caterwaul
 horse: Horse; Clip-clop; Neigh, whinny
 cattle: Cattle, bovinae; Moo; Cowbell
 pig: Pig; Oink
 goat: Goat; Bleat
 sheep: Sheep
 poultry: Fowl
  chicken: Chicken, rooster; Cluck
   rooster: Crowing, cock-a-doodle-doo
  turkey: Turkey; Gobble
  duck: Duck; Quack
  goose: Goose; Honk
 big cats: Roaring cats (lions, tigers); Roar
 birds: Bird; Bird vocalization, bird call, bird song; Chirp, tweet; Squawk; Bird flight, flapping wings
  pigeon: Pigeon, dove; Coo
  crow: Crow; Caw
  owl: Owl; Hoot
 rodents: Rodents, rats, mice; Mouse; Patter
 insects: Insect
  crickets: Cricket
  mosquito: Mosquito
  fly: Fly, housefly; Buzz
  bees: Bee, wasp, etc.
 frogs: Frog; Croak
 snake: Snake; Rattle
 whale: Whale vocalization
music: Music; Musical instrument; Pop music; Hip hop music; Beatboxing; Rock music; Heavy metal; Punk rock; Grunge; \
Progressive rock; Rock and roll; Psychedelic rock; Rhythm and blues; Soul music; Reggae; Country; Swing music; \
Bluegrass; Funk; Folk music; Middle Eastern music; Jazz; Disco; Classical music; Opera; Electronic music; House music; \
Techno; Dubstep; Drum and bass; Electronica; Electronic dance music; Ambient music; Trance music; \
Music of Latin America; Salsa music; Flamenco; Blues; Music for children; New-age music; Vocal music; Music of Africa; \
Afrobeat; Christian music; Gospel music; Music of Asia; Carnatic music; Music of Bollywood; Ska; Traditional music; \
Independent music; Song; Background music; Theme music; Jingle (music); Soundtrack music; Lullaby; Video game music; \
Christmas music; Dance music; Wedding music; Happy music; Funny music; Sad music; Tender music; Exciting music; \
Angry music; Scary music; Synthesizer; Theremin; Scratching (performance technique)
 guitar: Plucked string instrument; Guitar; Electric guitar; Bass guitar; Acoustic guitar; Steel guitar, slide guitar; \
Tapping (guitar technique); Strum; Banjo; Sitar; Mandolin; Zither; Ukulele
 piano: Keyboard (musical); Piano; Electric piano; Harpsichord
 organ: Organ; Electronic organ; Hammond organ
 drums: Percussion; Drum kit; Drum machine; Drum; Snare drum; Rimshot; Drum roll; Bass drum; Timpani; Tabla; Cymbal; \
Hi-hat; Wood block; Tambourine; Rattle (instrument); Maraca
 strings: Bowed string instrument; String section; Violin, fiddle; Pizzicato; Cello; Double bass; Orchestra; Harp
 brass: Brass instrument; French horn; Trumpet; Trombone
 woodwind: Wind instrument, woodwind instrument; Flute; Saxophone; Clarinet
 mallets: Mallet percussion; Marimba, xylophone; Glockenspiel; Vibraphone; Steelpan
 bagpipes: Bagpipes
bells: Bell; Tubular bells; Jingle bell; Chime; Singing bowl; Tuning fork; Gong
 church bells: Church bell; Change ringing (campanology)
 bicycle bell: Bicycle bell
 wind chime: Wind chime
wind: Wind
 wind on the microphone: Wind noise (microphone)
rustling leaves: Rustling leaves
thunder: Thunderstorm; Thunder
water: Water; Liquid
 rain: Rain; Raindrop; Rain on surface
 stream: Stream
 waterfall: Waterfall
 waves: Ocean; Waves, surf
 gurgling: Gurgling
 splashing: Splash, splatter; Slosh
 pouring: Pour; Trickle, dribble; Gush; Fill (with liquid)
 dripping: Drip
 tap: Water tap, faucet; Sink (filling or washing); Bathtub (filling or washing)
 toilet flush: Toilet flush
fire: Fire; Crackle
vehicle: Vehicle; Motor vehicle (road)
 boat: Boat, Water vehicle; Sailboat, sailing ship; Rowboat, canoe, kayak; Motorboat, speedboat; Ship
 traffic: Traffic noise, roadway noise
  car: Car; Car passing by; Power windows, electric windows
   car alarm: Car alarm
   race car: Race car, auto racing
   tyres squealing: Skidding; Tire squeal
  truck: Truck; Air brake; Reversing beeps; Ice cream truck, ice cream van
  bus: Bus
  motorcycle: Motorcycle
  horn: Vehicle horn, car horn, honking; Toot; Air horn, truck horn
  siren: Emergency vehicle; Police car (siren); Ambulance (siren); Fire engine, fire truck (siren); Siren; \
Civil defense siren
 train: Rail transport; Train; Railroad car, train wagon; Train wheels squealing
  train horn: Train whistle; Train horn
  metro: Subway, metro, underground
 aircraft: Aircraft; Aircraft engine; Jet engine; Propeller, airscrew
  helicopter: Helicopter
  airplane: Fixed-wing aircraft, airplane
 bicycle: Bicycle
 skateboard: Skateboard
engine: Engine; Light engine (high frequency); Medium engine (mid frequency); Heavy engine (low frequency); \
Engine knocking; Engine starting; Idling; Accelerating, revving, vroom
 lawn mower: Lawn mower
 chainsaw: Chainsaw
 dental drill: Dental drill, dentist's drill
door: Door; Sliding door; Slam
 doorbell: Doorbell; Ding-dong
knocking: Knock; Tap
cupboard: Cupboard open or close
drawer: Drawer open or close
dishes: Dishes, pots, and pans; Cutlery, silverware
frying: Frying (food); Sizzle
chopping: Chopping (food)
shaver: Electric shaver, electric razor
typing: Typing; Typewriter; Computer keyboard
alarm: Alarm; Buzzer; Smoke detector, smoke alarm; Fire alarm
 alarm clock: Alarm clock
telephone: Telephone; Telephone bell ringing; Ringtone; Telephone dialing, DTMF; Dial tone; Busy signal
whistle: Whistle; Steam whistle
clock: Clock; Tick; Tick-tock
fan: Mechanical fan; Air conditioning
camera: Camera; Single-lens reflex camera
tools: Tools; Power tool
 hammer: Hammer
 jackhammer: Jackhammer
 sawing: Sawing
 drill: Drill
 sanding: Sanding; Filing (rasp)
explosion: Explosion; Eruption; Boom
 gunfire: Gunshot, gunfire; Machine gun; Fusillade; Artillery fire; Cap gun
 fireworks: Fireworks; Firecracker
glass: Glass; Chink, clink
 glass breaking: Shatter
wood: Wood; Chop; Splinter
whoosh: Whoosh, swoosh, swish
thump: Thump, thud; Thunk
bang: Bang; Slap, smack; Whack, thwack; Smash, crash; Breaking
beep: Beep, bleep; Ping; Ding
clicking: Clicking; Clickety-clack
jingling: Jingle, tinkle; Keys jangling; Coin (dropping)
hum: Hum; Mains hum
rumble: Rumble; Throbbing; Vibration
noise: Noise; Static; Cacophony; White noise; Pink noise
"""

LEFT_OUT = "-"


class Vocabulary(NamedTuple):
    """`word_of`: AudioSet's name -> word, or `LEFT_OUT`; `parents`: word -> all words that it is a kind of."""

    word_of: dict[str, str]
    parents: dict[str, frozenset[str]]


@cache
def vocabulary() -> Vocabulary:
    """The table above, read."""
    word_of: dict[str, str] = {}
    parents: dict[str, frozenset[str]] = {}
    above: list[str] = []
    for line in _TREE.strip().splitlines():
        word, names = line.split(": ", 1)
        depth = len(word) - len(word.lstrip())
        word = word.strip()
        parents[word] = frozenset(above[:depth])
        above = [*above[:depth], word]
        word_of.update(dict.fromkeys(names.split("; "), word))
    return Vocabulary(word_of, parents)


def word_for(name: str) -> str:
    """The word for a sound's name: that of the table, else the name itself without what follows its first comma."""
    known = vocabulary().word_of.get(name)
    return known or " ".join(name.split(",")[0].split("(")[0].replace("_", " ").lower().split())


class TagWords:
    """Turns the probabilities of a bundle's tags into words."""

    def __init__(self, tags: Tags) -> None:
        words = [word_for(name) for name in tags.names]
        self.words = tuple(dict.fromkeys(word for word in words if word != LEFT_OUT))
        """(W,) all that may be reported."""
        thresholds = np.array(tags.thresholds)
        self._thresholds = np.broadcast_to(thresholds, len(words))
        # The tags that have a word, and its place among the words.
        self._kept = np.array([word != LEFT_OUT for word in words])
        self._place = np.array([self.words.index(word) for word in words if word != LEFT_OUT], int)
        self._parents = vocabulary().parents

    def choose(self, tags: np.ndarray) -> list[dict[str, float]]:
        """tags (B, M) in [0, 1] -> for each window at most `MOST_WORDS` words with their probabilities, highest first.

        A word is reported where a tag of it reaches its threshold, with the highest probability of those that do,
        unless a more exact one is: no "animal" beside "dog".
        """
        reached = np.where(tags >= self._thresholds, tags, 0.0)[:, self._kept]
        values = np.zeros((len(tags), len(self.words)))
        np.maximum.at(values.T, self._place, reached.T)
        return [self._exact(row) for row in values]

    def _exact(self, values: np.ndarray) -> dict[str, float]:
        found = {self.words[place]: float(values[place]) for place in np.flatnonzero(values > 0)}
        general = {parent for word in found for parent in self._parents.get(word, ())}
        exact = [(word, value) for word, value in found.items() if word not in general]
        return dict(sorted(exact, key=lambda pair: -pair[1])[:MOST_WORDS])

"""The assets of the sample: id, what builds it, and what is said of it in two languages."""

from typing import Callable, NamedTuple

from objects import animals, buildings, food, home, nature, toys, vehicles
from shapes import Part

VIEWS = 12
HELD_OUT = (3, 7, 11)  # views that training never sees


class Asset(NamedTuple):
    id: str
    build: Callable[[], list[Part]] | None  # None: a caption without views
    # Captions in English and Chinese as the sample ships them (None: views without one), and
    # the same in few words, which training alone sees.
    english: str | None
    english_short: str
    chinese: str | None
    chinese_short: str
    suffix: str = "png"
    quality: int | None = None  # of a lossy format
    views: int = VIEWS
    hidden: int = 255  # the grey level under what is fully transparent


# In the order of their ids.
# fmt: off
ASSETS = [
    Asset(
        "0/10002", home.table,
        "A wooden table with four tapered legs and a red apple on top.", "brown table",
        "一张四条腿的木桌，桌上放着一个红苹果。", "木头桌子",
    ),
    Asset(
        "0/10017", home.lamp,
        "3D model of a gold table lamp with a glowing cream lampshade.", "desk lamp",
        "一盏金色台灯的三维模型，米色灯罩发着光。", "台灯",
    ),
    Asset(
        "0/10023", home.teapot,
        "A round blue teapot with a curved spout and a white lid.", "blue teapot",
        "一把圆圆的蓝色茶壶，壶嘴弯曲，壶盖是白色的。", "蓝色茶壶",
    ),
    Asset(
        "0/10029", animals.duck,
        "a yellow rubber duck with an orange beak.", "bath duck toy",
        "一只黄色的橡皮鸭，嘴巴是橙色的。", "小黄鸭",
    ),
    Asset(
        "0/10035", buildings.lighthouse,
        "A red and white striped lighthouse standing on a rock.", "lighthouse",
        "礁石上矗立着一座红白相间的灯塔。", "灯塔",
    ),
    Asset(
        "0/10041", nature.tree,
        "a small snow-covered pine tree with a gold ball on its tip.", "Christmas tree",
        "一棵覆着白雪的小松树，树顶有一颗金色的球。", "圣诞树",
    ),
    Asset(
        "0/10046", vehicles.bus,
        "3D rendering of a yellow school bus with black stripes.", "yellow bus",
        "一辆带黑色条纹的黄色校车。", "黄色公共汽车",
    ),
    Asset(
        "0/10052", home.armchair,
        "A green upholstered armchair with rounded arms and short wooden feet.", "green sofa chair",
        "一把绿色的布艺扶手椅，椅脚是短短的木腿。", "绿色沙发",
    ),
    Asset(
        "0/10058", food.burger,
        "A hamburger with lettuce, tomato and cheese in a sesame bun.", "burger",
        "一个夹着生菜、番茄和奶酪的芝麻汉堡包。", "汉堡",
    ),
    Asset(
        "0/10063", animals.penguin,
        "a cartoon penguin with a white belly and orange feet.", "penguin",
        "一只卡通企鹅，白肚皮，橙色的脚。", "企鹅",
    ),
    Asset(
        "0/10069", nature.cactus,
        "A green cactus with two arms and a pink flower, in a clay pot.", "potted cactus",
        "陶土花盆里的绿色仙人掌，顶上开着一朵粉红色的花。", "盆栽仙人掌",
    ),
    Asset(
        "0/10074", home.drum,
        "A red toy drum with blue rims, yellow cords and two sticks.", "drum",
        "一面红色的玩具鼓，蓝色鼓边，配有两根鼓槌。", "小鼓",
    ),
    Asset(
        "0/10080", vehicles.sailboat,
        "3D model of a sailboat with a blue hull, a white sail and a red sail.", "boat with sails",
        "一艘蓝色船身的帆船模型，张着一白一红两面帆。", "小帆船",
    ),
    Asset(
        "0/10085", toys.die,
        "A white die with rounded corners and black dots.", "dice cube",
        "一颗圆角的白色骰子，点数是黑色的。", "骰子",
    ),
    Asset(
        "0/10091", home.vase,
        "a porcelain vase with blue and white bands.", "china vase",
        "一只蓝白条纹的瓷花瓶。", "花瓶",
    ),
    Asset(
        "0/10096", toys.snowman,
        "A snowman with a black top hat, a carrot nose and a red scarf.", "snowman",
        "一个雪人，戴着黑色礼帽和红围巾，鼻子是胡萝卜。", "雪人",
    ),
    Asset(
        "0/10113", vehicles.rocket,
        "3D rendering of a white cartoon rocket with red fins and a round window.", "space rocket",
        "一枚白色的卡通火箭，尾翼是红色的，有一扇圆窗。", "太空火箭", "webp",
    ),
    Asset(
        "1/10204", home.mug,
        "A striped teal and cream mug filled with coffee.", "coffee cup",
        "一只青白条纹的马克杯，里面装满咖啡。", "咖啡杯",
    ),
    Asset(
        "1/10209", animals.elephant,
        "A gray elephant with big ears, white tusks and a long trunk.", "elephant",
        "一头灰色的大象，大耳朵，白象牙，长鼻子。", "大象",
    ),
    Asset(
        "1/10215", buildings.windmill,
        "a windmill with cream walls, a brown cap and four white sails.", "windmill",
        "一座米色墙面的风车，有四片白色的叶片。", "风车",
    ),
    Asset(
        "1/10220", toys.gift,
        "A teal gift box tied with a red ribbon and a bow.", "birthday present",
        "一个青绿色的礼物盒，系着红丝带和蝴蝶结。", "生日礼物",
    ),
    Asset(
        "1/10226", vehicles.airplane,
        "3D model of a passenger airplane with blue wings and a red tail fin.", "plane",
        "一架客机的三维模型，机翼是蓝色的，尾翼是红色的。", "飞机",
    ),
    Asset(
        "1/10232", home.candle,
        "A burning candle on a brass candlestick, with wax dripping down.", "candle light",
        "黄铜烛台上燃烧着一支蜡烛，烛泪正往下流。", "蜡烛",
    ),
    Asset(
        "1/10238", food.donut,
        "3D model of a donut with pink icing and colorful sprinkles.", "doughnut",
        "一个甜甜圈，裹着粉色糖霜，撒满彩色糖粒。", "甜甜圈",
    ),
    Asset(
        "1/10243", animals.turtle,
        "A little green turtle with a brown patterned shell.", "tortoise",
        "一只绿色的小乌龟，背着棕色花纹的壳。", "乌龟",
    ),
    Asset(
        "1/10249", nature.sunflower,
        "a sunflower with yellow petals growing in a flowerpot.", "yellow flower",
        "花盆里长着一株黄色花瓣的向日葵。", "向日葵",
    ),
    Asset(
        "1/10255", toys.pawn,
        "a black chess pawn with a polished finish.", "chess piece",
        "一枚抛光的黑色国际象棋兵。", "黑色棋子",
    ),
    Asset(
        "1/10261", home.umbrella,
        "An open red umbrella with a curved wooden handle.", "umbrella",
        "一把撑开的红伞，木柄是弯的。", "雨伞",
    ),
    Asset(
        "1/10267", vehicles.locomotive,
        "A steam locomotive with a green boiler, gold bands and a red cab.", "train engine",
        "一台蒸汽火车头，绿色锅炉，红色驾驶室。", "小火车",
    ),
    Asset(
        "1/10273", food.pumpkin,
        "3D rendering of a ripe orange pumpkin with a green leaf.", "pumpkin",
        "一个成熟的橙色南瓜，带着一片绿叶。", "大南瓜",
    ),
    Asset(
        "1/10279", toys.crown,
        "A golden crown with pearls, red and blue jewels and a purple lining.", "king's crown",
        "一顶金色王冠，镶着珍珠和红蓝宝石，内衬是紫色的。", "国王的皇冠",
    ),
    Asset(
        "1/10285", buildings.igloo,
        "an igloo built of blue and white rows of snow, with an arched entrance.", "snow house",
        "一座蓝白相间的雪砖冰屋，入口是拱形的。", "冰屋",
    ),
    Asset(
        "1/10290", animals.ladybird,
        "A ladybug with black spots on its red back.", "ladybird beetle",
        "一只红色的瓢虫，背上有黑色斑点。", "七星瓢虫",
    ),
    Asset(
        "1/10296", home.hourglass,
        "A wooden hourglass with golden sand running through the glass.", "sand timer",
        "一只木框沙漏，金色的沙子正在往下漏。", "沙漏",
    ),
    Asset(
        "1/10301", nature.mushroom,
        "A red mushroom with white spots growing from a patch of grass.", "toadstool",
        "草地上长着一朵带白点的红蘑菇。", "红蘑菇", "jpg", 92,
    ),
    Asset(
        "1/10333", None,
        "3D model of a wooden rocking horse with a red saddle.", "rocking horse",
        "一匹木制摇摇马的三维模型，配着红色马鞍。", "木马",
    ),
    Asset(
        "1/10349", vehicles.submarine,
        "A yellow submarine with round windows, a red tower and a periscope.", "submarine",
        "一艘黄色潜水艇，有圆形舷窗、红色指挥塔和潜望镜。", "潜艇",
    ),
    Asset(
        "1/10361", home.camera,
        "a black and silver photo camera with a large lens.", "camera",
        "一台黑银两色的照相机，镜头很大。", "相机",
    ),
    Asset(
        "1/10377", toys.traffic_cone,
        "An orange traffic cone with a white stripe on a square base.", "road cone",
        "一个橙色的交通锥，中间有白色条纹，底座是方的。", "路障",
    ),
    Asset(
        "2/10404", food.ice_cream,
        "Three scoops of ice cream in a waffle cone with a cherry on top.", "ice cream",
        "华夫蛋筒里的三个冰淇淋球，顶上放着一颗樱桃。", "冰激凌",
    ),
    Asset(
        "2/10410", buildings.house,
        "A small house with cream walls, a red tiled roof and a stone chimney.", "cottage",
        "一座小房子，米色的墙，红瓦屋顶，石砌烟囱。", "小屋", "jpeg", 92,
    ),
    Asset(
        "2/10415", animals.octopus,
        "A purple octopus with eight arms and big white eyes.", "octopus",
        "一只紫色的章鱼，有八条触手和一双大眼睛。", "八爪鱼",
    ),
    Asset(
        "2/10421", home.globe,
        "A desk globe with green continents on a blue sea and a gold arm.", "world globe",
        "一台地球仪，蓝色的海洋，绿色的大陆，金色的支架。", "地球模型",
    ),
    Asset(
        "2/10427", vehicles.balloon,
        "3D rendering of a hot air balloon in red, yellow and blue with a wicker basket.", "hot air balloon",
        "一个红黄蓝三色的热气球，下面吊着藤篮。", "热气球",
    ),
    Asset(
        "2/10433", nature.palm,
        "a palm tree with coconuts on a small sandy island.", "coconut palm",
        "小沙岛上的一棵椰子树。", "棕榈树",
    ),
    Asset(
        "2/10439", toys.chest,
        "A closed wooden treasure chest with gold straps and a lock.", "pirate treasure",
        "一只关着的木制宝箱，包着金边，上了锁。", "海盗的藏宝箱",
    ),
    Asset(
        "2/10445", home.alarm_clock,
        "A red alarm clock with two golden bells on top.", "clock",
        "一只红色的闹钟，顶上有两个金色的铃。", "时钟",
    ),
    Asset(
        "2/10451", nature.crystal,
        None, "",
        None, "",
    ),
    Asset(
        "2/10457", animals.fish,
        "An orange clownfish with white stripes.", "fish",
        "一条橙白条纹的小丑鱼。", "小鱼",
    ),
    Asset(
        "2/10463", home.guitar,
        "3D model of an acoustic guitar with a light wooden body.", "guitar",
        "一把浅色木吉他的三维模型。", "吉他",
    ),
    Asset(
        "2/10469", buildings.tent,
        "An orange camping tent pitched on green grass.", "tent",
        "绿草地上搭着一顶橙色的露营帐篷。", "帐篷",
    ),
    Asset(
        "2/10476", toys.robot,
        "3D rendering of a blue and silver toy robot with glowing eyes.", "robot",
        "一个蓝银色的玩具机器人，眼睛发着光。", "机器人",
    ),
    Asset(
        "2/10482", food.cake,
        "A two-tier pink birthday cake with five burning candles.", "birthday cake",
        "一个双层的粉色生日蛋糕，插着五根点燃的蜡烛。", "蛋糕",
    ),
    Asset(
        "2/10489", vehicles.tractor,
        "a green farm tractor with large rear wheels and yellow rims.", "tractor",
        "一台绿色的农用拖拉机，后轮很大，轮毂是黄色的。", "拖拉机",
    ),
    Asset(
        "2/10495", home.bucket,
        "A metal bucket full of water with a wooden grip on its handle.", "pail of water",
        "一只装满水的铁桶，提手上套着木柄。", "水桶",
    ),
    Asset(
        "2/10502", vehicles.car,
        "a red toy car with black wheels and tinted windows.", "red automobile",
        "一辆红色的玩具汽车，黑色的轮子，有色的车窗。", "红色小汽车", "webp", 90,
    ),
    Asset(
        "2/10519", toys.dumbbell,
        "", "",
        "一只黑色的健身哑铃，握把是钢的。", "哑铃",
    ),
    Asset(
        "3/10601", animals.bee,
        "A plump bumblebee with yellow and black stripes and pale wings.", "bee",
        "一只胖胖的蜜蜂，身上黄黑相间，一双浅色的翅膀。", "小蜜蜂",
    ),
    Asset(
        "3/10608", nature.planet,
        "A ringed planet with tan cloud bands and a small gray moon.", "Saturn",
        "一颗带光环的行星，有棕色云带和一颗灰色小卫星。", "土星", hidden=0,
    ),
    Asset(
        "3/10613", home.hammer,
        "A claw hammer with a steel head and a red grip.", "hammer",
        "一把羊角锤，锤头是钢的，握把是红色的。", "锤子",
    ),
    Asset(
        "3/10619", buildings.pagoda,
        "A red Chinese pagoda with four green tiled roofs and a gold spire.", "pagoda tower",
        "一座四层的中式红塔，绿瓦屋檐，金色塔尖。", "宝塔",
    ),
    Asset(
        "3/10624", buildings.castle,
        "3D model of a round stone castle tower with battlements and a blue flag.", "castle",
        "一座圆形的石头城堡塔楼，有城垛，插着蓝旗。", "城堡",
    ),
    Asset(
        "3/10630", home.television,
        "a vintage wooden television set with a rabbit-ear antenna.", "old TV",
        "一台木壳的老式电视机，顶着两根天线。", "旧电视",
    ),
    Asset(
        "3/10637", vehicles.ufo,
        "A silver flying saucer with colored lights and a little green alien.", "ufo spaceship",
        "一艘银色飞碟，亮着彩灯，里面坐着绿色小外星人。", "外星人的飞船", hidden=0,
    ),
    Asset(
        "3/10644", food.watermelon,
        "A slice of watermelon with red flesh and black seeds.", "watermelon",
        "一片西瓜，红瓤黑籽。", "西瓜",
    ),
    Asset(
        "3/10651", toys.anchor,
        "A dark blue ship's anchor with a rope wound around it.", "anchor",
        "一只深蓝色的船锚，上面缠着绳子。", "铁锚", views=4,
    ),
]
# fmt: on

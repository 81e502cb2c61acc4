"""What the demo's synthetic news can say: the names, and fourteen kinds of story.

Every story names five facts, each in its own slot: {place}, {day}, {n} (a number), {org} (an organisation) and {who} (a person). Beside them it
has one of three reasons and one of three views; the article words each of these in one of two ways, the summary in a third.
"""

PLACES = """Marlow Ashford Kelby Dunmore Westbury Halden Tarrow Brinton Colwick Fenwick Glenmore Harwick Kirkdale Lindale Milford Norwell Oakham
Penrose Redcliff Selby Thornbury Ulverton Varley Wexham Yarrow Aldbrook Bexley Corwen Farleigh Garston Hexley Jarrow Langport Moorgate Orford
Padstow""".split()

FIRST_NAMES = """Anna Clara David Elena Felix Grace Hugo Irene James Karen Louis Maria Nadia Oscar Paula Rosa Simon Tara Victor Wendy Yusuf Amir
Bella Carlos Diana Emil Farah Hanna Ivan Julia Kofi Zoe""".split()

LAST_NAMES = """Keller Novak Barnes Ortiz Singh Walsh Meyer Rossi Tanaka Okoye Larsen Dubois Patel Moreau Fischer Hughes Jensen Kovacs Lopez Murphy
Nolan Petrov Quinn Reyes Silva Turner Vargas Weber Zhang Abbott Cohen Drake Ellis Gibson Hayes Klein""".split()

ORG_NAMES = """Beacon Northgate Summit Crescent Pioneer Lakeside Meridian Falcon Granite Horizon Juniper Keystone Liberty Maple Orion Phoenix
Regent Sterling Unity Vanguard Willow Zenith Atlas""".split()

ORG_KINDS = "Trust Group Alliance Foundation Institute Society".split()

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

NUMBERS = [str(n) for n in range(20, 90)]

# Sentences that fit any story; each names one fact again, so that an article mentions every fact two or three times.
MENTIONS = {
    "place": [
        "People in {place} talked of little else.",
        "The news spread quickly through {place}.",
        "Few in {place} had expected it.",
        "Reporters from other towns came to {place} as well.",
    ],
    "day": [
        "By the end of {day} the story was known everywhere.",
        "A short statement followed late on {day}.",
        "The weather on {day} was mild and dry.",
        "Local radio spoke about it all through {day}.",
    ],
    "org": [
        "The {org} answered questions from the press.",
        "The {org} has worked in the region for years.",
        "A letter from the {org} was read aloud.",
        "Staff of the {org} were there from the start.",
    ],
    "who": [
        "{who} thanked everyone who had helped.",
        "{who} spoke for a long time with families.",
        "Later {who} met a small group of reporters.",
        "{who} has lived in the area for many years.",
    ],
    "n": [
        "Nobody disputed the figure of {n}.",
        "The figure of {n} was confirmed later.",
        "That number, {n}, surprised many readers.",
    ],
}

FILLERS = [
    "Older residents remembered quieter times.",
    "Some shops stayed open longer than usual.",
    "Children waved from the windows of a passing bus.",
    "A full report is expected next month.",
    "Opinions in the street were divided at first.",
    "Photographs of the scene were shared widely.",
    "Nothing like it had been seen for a long time.",
    "The matter will be discussed again in spring.",
]

STORIES = [
    {
        "topic": "bridge",
        "roles": ["engineer", "mayor"],
        "event": [
            "A new footbridge over the river opened in {place} on {day}.",
            "Hundreds walked across the new footbridge in {place} when it opened on {day}.",
            "On {day} the ribbon was cut and the new footbridge in {place} was open at last.",
        ],
        "number": ["The work cost {n} million dollars.", "In the end {n} million dollars were spent on it.", "Building it swallowed {n} million dollars."],
        "org": ["Most of the money came from the {org}.", "The larger part was paid by the {org}.", "Without a gift from the {org} the work would never have begun."],
        "reasons": [
            (["A flood carried off the old crossing two winters ago.", "The old crossing was swept away by a winter flood."], "a flood took the old one"),
            (["Inspectors closed the old crossing after they found rust.", "The old crossing was shut because of rust in its frame."], "rust had closed the old one"),
            (["A truck wrecked the old crossing and nobody repaired it.", "The old crossing never recovered after a truck hit it."], "a truck had wrecked the old one"),
        ],
        "views": [
            (['"Now our children can walk safely to school," {who} said.', "{who} was glad that pupils no longer have to cross the busy road."], "children can now walk safely to school"),
            (['"We could have had this years earlier," {who} said.', "{who} complained that the town had waited far too long."], "it should have been built years earlier"),
            (['"The next thing we need is better lights," {who} said.', "{who} pointed out that the path is still dark at night."], "the path still needs better lights"),
        ],
        "fillers": ["A brass band played on the bank.", "Boats sounded their horns below.", "The steel parts had arrived by ship."],
        "summary": [
            "A footbridge that cost {n} million dollars opened in {place} on {day}, because {reason}.",
            "The {org} paid for most of it.",
            "According to {who}, {view}.",
        ],
    },
    {
        "topic": "flood",
        "roles": ["farmer", "mayor"],
        "event": [
            "Water rushed through the streets of {place} on {day}.",
            "The river burst its banks in {place} on {day} before dawn.",
            "On {day} muddy water filled cellars and shops in {place}.",
        ],
        "number": ["At least {n} families had to leave their homes.", "Boats brought {n} families to safety.", "A school hall became a shelter for {n} families."],
        "org": ["Blankets and hot soup came from the {org}.", "Helpers of the {org} handed out food and dry clothes.", "The {org} sent two trucks with supplies."],
        "reasons": [
            (["It had rained for six days without a break.", "Six days of rain had filled the river to the brim."], "long rain"),
            (["A dam upstream had cracked in the night.", "Engineers blamed a crack in the dam upstream."], "a cracked dam"),
            (["Warm wind had melted the snow in the hills at once.", "Snow in the hills had melted much faster than usual."], "melting snow"),
        ],
        "views": [
            (['"I have lost everything in my barn," {who} said.', "{who} stood in front of a ruined barn and wept."], "everything in the barn is lost"),
            (['"We must raise the walls along the river," {who} said.', "{who} called for higher walls along the river."], "the river needs higher walls"),
            (['"Neighbours pulled each other out, and that saved lives," {who} said.', "{who} praised neighbours who rescued each other."], "neighbours saved many lives"),
        ],
        "fillers": ["Several roads stayed closed until the evening.", "A cow was found on the roof of a shed.", "Power failed in the lower streets."],
        "summary": [
            "A flood in {place} on {day} drove {n} families from their homes after {reason}.",
            "The {org} brought them food and clothes.",
            "For {who} it is clear that {view}.",
        ],
    },
    {
        "topic": "factory",
        "roles": ["manager", "director"],
        "event": [
            "A plant that makes bicycles will be built in {place}, it was announced on {day}.",
            "On {day} plans were shown for a bicycle plant at the edge of {place}.",
            "Bicycles will soon be made in {place}, according to plans shown on {day}.",
        ],
        "number": ["It is to give work to {n} people.", "In the first year {n} people are to be hired.", "There will be places for {n} workers."],
        "org": ["The owner will be the {org}.", "Behind the project stands the {org}.", "The {org} has already bought the land."],
        "reasons": [
            (["The site was chosen because the railway is near.", "A railway station close by decided the choice of the site."], "the railway is near"),
            (["Cheap power from the dam made the site attractive.", "What spoke for the site was cheap power from the dam."], "power is cheap there"),
            (["Many skilled workers live close to the site.", "The site was picked since skilled workers live close by."], "skilled workers live there"),
        ],
        "views": [
            (['"We will train young people from the start," {who} said.', "{who} promised courses for young people without a trade."], "young people will be trained"),
            (['"The first bicycle will leave the hall next summer," {who} said.', "{who} expects the first bicycle to be sold next summer."], "the first bicycle will be ready next summer"),
            (['"We will listen to those who fear the noise," {who} said.', "{who} promised walls against the noise."], "the noise will be kept low"),
        ],
        "fillers": ["An old warehouse has to be pulled down first.", "Bakers and builders hope for new customers.", "The plans hang in the town hall."],
        "summary": [
            "The {org} will build a bicycle plant in {place} because {reason}.",
            "The plans shown on {day} speak of work for {n} people.",
            "As {who} promised, {view}.",
        ],
    },
    {
        "topic": "festival",
        "roles": ["singer", "director"],
        "event": [
            "The summer music festival in {place} ended on {day} with fireworks.",
            "Fireworks closed the summer music festival in {place} on {day}.",
            "On {day} the last songs of the summer music festival sounded over {place}.",
        ],
        "number": ["During the week {n} bands appeared on three stages.", "The programme listed {n} bands.", "Visitors could choose among {n} bands."],
        "org": ["This year it was run by the {org}.", "The {org} had taken over the planning.", "For the first time the {org} was in charge."],
        "reasons": [
            (["Tickets were free for the first time.", "For once nobody had to pay for a ticket."], "tickets were free"),
            (["A famous choir from abroad drew crowds.", "Crowds came to hear a famous choir from abroad."], "a famous choir came"),
            (["Sunshine all week brought crowds to the park.", "All week the sun shone on crowds in the park."], "the sun shone all week"),
        ],
        "views": [
            (['"Next year we want a bigger stage," {who} said.', "{who} dreams of a much bigger stage next year."], "there should be a bigger stage next year"),
            (['"I have never seen so many people dance," {who} said.', "{who} was moved by the dancing crowd."], "nobody ever saw so many people dance"),
            (['"The toilets and the parking were a disgrace," {who} said.', "{who} was angry about dirty toilets and full car parks."], "toilets and parking were a disgrace"),
        ],
        "fillers": ["Food stalls sold pancakes and grilled fish.", "A lost dog found its owner near the main stage.", "Cleaners worked through the night."],
        "summary": [
            "A festival with {n} bands ended in {place} on {day}, and crowds came since {reason}.",
            "It was run by the {org}.",
            "In the eyes of {who}, {view}.",
        ],
    },
    {
        "topic": "strike",
        "roles": ["driver", "manager"],
        "event": [
            "No bus ran in {place} on {day}.",
            "Bus drivers in {place} stopped work on {day}.",
            "On {day} the buses of {place} stayed in their garages.",
        ],
        "number": ["All {n} lines were affected.", "Passengers of {n} lines had to walk.", "The signs at the stops of {n} lines stayed dark."],
        "org": ["The buses belong to the {org}.", "The drivers are employed by the {org}.", "Talks with the {org} had failed the night before."],
        "reasons": [
            (["Drivers want higher wages.", "Their wages have not risen for four years."], "higher wages"),
            (["Drivers ask for shorter shifts.", "Their shifts often last eleven hours."], "shorter shifts"),
            (["Drivers demand new buses with working brakes.", "They say the brakes of the old buses are not safe."], "safer buses"),
        ],
        "views": [
            (['"We will carry on as long as we must," {who} said.', "{who} warned that the buses may stand still for weeks."], "the strike may last for weeks"),
            (['"I hope that we can talk again soon," {who} said.', "{who} asked both sides to return to the table."], "both sides should talk again"),
            (['"Those who suffer are the sick and the old," {who} said.', "{who} felt sorry for the sick and the old."], "the sick and the old suffer most"),
        ],
        "fillers": ["Taxis were booked out by eight in the morning.", "Many people went to work by bicycle.", "Pickets stood around a small fire."],
        "summary": [
            "Bus drivers of the {org} went on strike for {reason}.",
            "In {place} {n} lines stood still on {day}.",
            "A warning came from {who}: {view}.",
        ],
    },
    {
        "topic": "school",
        "roles": ["teacher", "minister"],
        "event": [
            "Pupils in {place} moved into a new school building on {day}.",
            "On {day} lessons began in the new school of {place}.",
            "The doors of a new school opened in {place} on {day}.",
        ],
        "number": ["It has {n} classrooms.", "There are {n} classrooms on three floors.", "Pupils counted {n} bright classrooms."],
        "org": ["The building was designed by the {org}.", "The plans were drawn by the {org}.", "The {org} had won the contest for the design."],
        "reasons": [
            (["The roof of the old school had fallen in.", "The old school was given up when its roof came down."], "the old roof fell in"),
            (["The old school had become far too small.", "There was no more room in the old school."], "the old school was too small"),
            (["The old school was burned down by lightning.", "Lightning had set the old school on fire."], "lightning burned the old school"),
        ],
        "views": [
            (['"Light and fresh air help children to learn," {who} said.', "{who} is sure that bright rooms make learning easier."], "bright rooms help children to learn"),
            (['"We still look for teachers of music and maths," {who} said.', "{who} admitted that teachers of music and maths are missing."], "teachers of music and maths are missing"),
            (['"In the evening the rooms belong to everyone," {who} said.', "{who} wants to open the rooms to clubs in the evening."], "clubs may use the rooms in the evening"),
        ],
        "fillers": ["The youngest carried paper flowers.", "Lunch was cooked in the new kitchen.", "A garden with apple trees is planned."],
        "summary": [
            "A school with {n} classrooms, designed by the {org}, opened in {place} on {day}.",
            "It was needed because {reason}.",
            "What {who} stressed is that {view}.",
        ],
    },
    {
        "topic": "hospital",
        "roles": ["doctor", "nurse"],
        "event": [
            "The hospital of {place} closed its doors to visitors on {day}.",
            "Since {day} no visitors may enter the hospital of {place}.",
            "On {day} the hospital of {place} sent all visitors home.",
        ],
        "number": ["By the evening {n} patients were ill.", "Tests showed that {n} patients were ill.", "The illness was found in {n} patients."],
        "org": ["Experts of the {org} were called in.", "Samples were sent to the {org}.", "The {org} took over the search for the source."],
        "reasons": [
            (["Bad water from an old pipe is suspected.", "The source seems to be an old water pipe."], "a bad water pipe"),
            (["Spoiled chicken from the kitchen is suspected.", "The source seems to be chicken from the kitchen."], "spoiled chicken"),
            (["A virus brought in by a traveller is suspected.", "The source seems to be a traveller with a virus."], "a virus"),
        ],
        "views": [
            (['"No one is in danger any more," {who} said.', "{who} was able to calm worried families."], "nobody is in danger any more"),
            (['"Please wash your hands as often as you can," {who} said.', "{who} begged the public to wash their hands."], "everyone should wash their hands"),
            (['"We do not have enough staff for this," {who} said.', "{who} complained that too few people work on the wards."], "there is not enough staff"),
        ],
        "fillers": ["Flowers piled up at the gate.", "Planned operations were put off.", "Two wards were cleaned from top to bottom."],
        "summary": [
            "After {n} patients fell ill, the hospital in {place} has let in no visitors since {day}.",
            "The {org} suspects {reason}.",
            "The message of {who} is that {view}.",
        ],
    },
    {
        "topic": "theft",
        "roles": ["detective", "guard"],
        "event": [
            "Thieves broke into the museum of {place} on {day}.",
            "On {day} the museum of {place} was robbed.",
            "The alarm of the museum in {place} rang on {day}, too late.",
        ],
        "number": ["They took {n} gold coins.", "A case with {n} gold coins was empty.", "Missing are {n} gold coins from a Roman grave."],
        "org": ["The coins belong to the {org}.", "The {org} had lent the coins for a show.", "Owner of the treasure is the {org}."],
        "reasons": [
            (["A window in the cellar had been left open.", "The way in was an open window in the cellar."], "through a cellar window"),
            (["The roof had been cut open with a saw.", "A hole sawn into the roof was the way in."], "through the roof"),
            (["Someone had used a stolen key.", "The back door was opened with a stolen key."], "with a stolen key"),
        ],
        "views": [
            (['"We are looking for a grey van," {who} said.', "{who} asked who had seen a grey van."], "a grey van is being looked for"),
            (['"It must have been somebody from inside," {who} said.', "{who} does not rule out help from inside."], "somebody inside must have helped"),
            (['"The coins are too well known to be sold," {who} said.', "{who} doubts that anyone would dare to buy them."], "the coins cannot be sold"),
        ],
        "fillers": ["Glass lay all over the floor.", "A reward has been offered.", "The cameras had been covered with paint."],
        "summary": [
            "Thieves stole {n} gold coins of the {org} in {place} on {day}.",
            "They got into the museum {reason}.",
            "The police in the person of {who} say that {view}.",
        ],
    },
    {
        "topic": "storm",
        "roles": ["captain", "farmer"],
        "event": [
            "A storm tore across {place} on {day}.",
            "On {day} strong wind struck {place}.",
            "Roofs flew off in {place} during a storm on {day}.",
        ],
        "number": ["In all {n} houses were damaged.", "Inspectors counted {n} damaged houses.", "Tiles fell from {n} houses."],
        "org": ["Repairs are paid by the {org}.", "The {org} promised quick money for repairs.", "A fund of the {org} will pay for repairs."],
        "reasons": [
            (["Power failed because trees fell on the lines.", "Fallen trees had cut the power lines."], "fallen trees cut the power"),
            (["The main road was blocked by a fallen tower.", "A fallen tower lay across the main road."], "a tower blocked the main road"),
            (["Trains stopped since the tracks were under sand.", "Sand covered the tracks, so no train could run."], "sand stopped the trains"),
        ],
        "views": [
            (['"In thirty years I have not seen such waves," {who} said.', "{who} had never met such waves in thirty years."], "such waves were not seen for thirty years"),
            (['"The warning came an hour too late," {who} said.', "{who} blamed the late warning."], "the warning came too late"),
            (['"Our whole apple harvest is gone," {who} said.', "{who} mourned the loss of all the apples."], "the apple harvest is lost"),
        ],
        "fillers": ["Hail as large as eggs was reported.", "Cats hid under parked cars.", "The clock of the church stopped at noon."],
        "summary": [
            "A storm damaged {n} houses in {place} on {day}, and {reason}.",
            "The {org} will pay for repairs.",
            "It is the opinion of {who} that {view}.",
        ],
    },
    {
        "topic": "railway",
        "roles": ["minister", "engineer"],
        "event": [
            "Trains will stop in {place} again, the council decided on {day}.",
            "On {day} the council voted to bring the railway back to {place}.",
            "The closed station of {place} will get its trains back after a vote on {day}.",
        ],
        "number": ["The line will be {n} miles long.", "Workers must lay {n} miles of track.", "New track is needed for {n} miles."],
        "org": ["The trains will be run by the {org}.", "The {org} has promised a train every hour.", "A contract with the {org} is ready to be signed."],
        "reasons": [
            (["The motorway is jammed every morning.", "Every morning cars stand still on the motorway."], "the motorway is jammed"),
            (["Students have no way to reach the college.", "Until now students could hardly get to the college."], "students must reach the college"),
            (["Tourists want to travel to the lakes without a car.", "More tourists want to see the lakes without driving."], "tourists want to see the lakes"),
        ],
        "views": [
            (['"Fares will be lower than those of the bus," {who} said.', "{who} promised cheap fares."], "fares will be low"),
            (['"We must build two tunnels, and that takes time," {who} said.', "{who} warned that two tunnels will take time."], "two tunnels will take time"),
            (['"The old station house will become a cafe," {who} said.', "{who} wants to see a cafe in the old station house."], "the old station will become a cafe"),
        ],
        "fillers": ["Grass has grown between the rails.", "A model of the line stands in the library.", "Someone had brought an old steam whistle."],
        "summary": [
            "On {day} the council voted for a railway of {n} miles to {place}, because {reason}.",
            "Its trains will be run by the {org}.",
            "From {who} came the news that {view}.",
        ],
    },
    {
        "topic": "otters",
        "roles": ["biologist", "teacher"],
        "event": [
            "Otters have come back to the river near {place}, it was reported on {day}.",
            "On {day} a camera near {place} filmed a family of otters.",
            "Walkers near {place} saw otters play in the river on {day}.",
        ],
        "number": ["A count found {n} animals.", "There may be {n} of them now.", "Tracks of {n} animals were found in the mud."],
        "org": ["The count was made by the {org}.", "Members of the {org} had watched the river for months.", "The {org} put up the cameras."],
        "reasons": [
            (["A paper mill had stopped putting waste into the river.", "The river is clean since the paper mill keeps back its waste."], "the water is clean again"),
            (["Trout had been set free in the river last year.", "The otters follow the trout that were set free."], "there is enough trout to eat"),
            (["Hunting on the river has been banned.", "A ban keeps hunters away from the river."], "hunting is banned"),
        ],
        "views": [
            (['"Please keep your dogs on a lead," {who} said.', "{who} asked owners to hold on to their dogs."], "dogs must be kept on a lead"),
            (['"They need quiet banks with old trees," {who} said.', "{who} wants to leave old trees along the banks."], "old trees must be left along the banks"),
            (['"Fishermen will have to share," {who} said.', "{who} joked that fishermen will catch less from now on."], "fishermen will have to share"),
        ],
        "fillers": ["A heron watched from a branch.", "School classes built small rafts.", "The film lasts only eleven seconds."],
        "summary": [
            "Otters are back near {place}, where {reason}.",
            "The {org} reported {n} animals on {day}.",
            "The advice of {who}: {view}.",
        ],
    },
    {
        "topic": "library",
        "roles": ["writer", "librarian"],
        "event": [
            "The library of {place} was saved on {day}.",
            "On {day} it was decided that the library of {place} will stay.",
            "Readers in {place} cheered on {day}: their library will not close.",
        ],
        "number": ["More than {n} thousand books stand on its shelves.", "It holds {n} thousand books.", "Its {n} thousand books will not be sold."],
        "org": ["Rent will be paid by the {org}.", "The {org} stepped in and will pay the rent.", "For ten years the {org} covers the rent."],
        "reasons": [
            (["A girl of nine had collected names for it.", "It began with a girl of nine who went from door to door."], "a young girl"),
            (["A baker had sold cakes for it every week.", "It began with a baker who sold cakes each week."], "a baker"),
            (["A retired sailor had walked to the capital for it.", "It began with the long walk of a retired sailor."], "a retired sailor"),
        ],
        "views": [
            (['"We will open in the evening too," {who} said.', "{who} plans longer hours in the evening."], "it will open in the evening too"),
            (['"Books need readers, so bring your friends," {who} said.', "{who} wished for more readers and fewer speeches."], "it needs more readers"),
            (['"The roof is leaking and must be fixed first," {who} said.', "{who} pointed to buckets under the leaking roof."], "the roof must be fixed first"),
        ],
        "fillers": ["The reading room smells of wax.", "Old maps hang in the hall.", "Somebody rang the bell of the reading room."],
        "summary": [
            "The library in {place} with its {n} thousand books was saved on {day} thanks to {reason}.",
            "Its rent will be paid by the {org}.",
            "In the words of {who}, {view}.",
        ],
    },
    {
        "topic": "football",
        "roles": ["coach", "captain"],
        "event": [
            "The footballers of {place} won the cup on {day}.",
            "On {day} the cup went to the footballers of {place}.",
            "It took until {day}, but now {place} has won the cup.",
        ],
        "number": ["The winning goal fell after {n} minutes.", "They scored after {n} minutes.", "For {n} minutes there was no goal."],
        "org": ["They beat the team of the {org}.", "Beaten was the team of the {org}.", "The team of the {org} had been the favourite."],
        "reasons": [
            (["A mistake by the goalkeeper decided the match.", "The goalkeeper let the ball slip through his hands."], "a mistake by the goalkeeper"),
            (["A free kick from far out decided the match.", "The ball flew in after a free kick from far out."], "a long free kick"),
            (["A header by the youngest player decided the match.", "The youngest player put the ball in with his head."], "a header by the youngest player"),
        ],
        "views": [
            (['"We trained in snow and rain for this," {who} said.', "{who} recalled hard training in snow and rain."], "hard training was the key"),
            (['"I will stop now, it cannot get better," {who} said.', "{who} will leave the team after this success."], "it is time to stop"),
            (['"The cup belongs to our fans," {who} said.', "{who} gave the cup to the fans."], "the cup belongs to the fans"),
        ],
        "fillers": ["Flags hung from every balcony.", "The pitch was soft after the rain.", "Two players were shown yellow cards."],
        "summary": [
            "The team of {place} won the cup on {day} against the {org}.",
            "It scored after {n} minutes thanks to {reason}.",
            "If one asks {who}, {view}.",
        ],
    },
    {
        "topic": "windfarm",
        "roles": ["farmer", "director"],
        "event": [
            "The first windmill on the hill above {place} began to turn on {day}.",
            "On {day} power from the wind flowed into the homes of {place}.",
            "Since {day} windmills on the hill make power for {place}.",
        ],
        "number": ["Each of them is {n} metres high.", "They rise {n} metres into the sky.", "The blades reach a height of {n} metres."],
        "org": ["They belong to the {org}.", "The {org} owns them.", "They were put up by the {org}."],
        "reasons": [
            (["The coal plant will be shut in autumn.", "In autumn the old coal plant goes out of service."], "the coal plant will shut"),
            (["The price of gas has doubled.", "Gas has become twice as dear."], "gas has become too dear"),
            (["The cable from the coast broke again and again.", "Too often the cable from the coast had broken."], "the cable often broke"),
        ],
        "views": [
            (['"My sheep do not mind them at all," {who} said.', "{who} laughed and said that the sheep sleep below them."], "sheep do not mind them"),
            (['"At night the red lamps keep us awake," {who} said.', "{who} cannot sleep because of the red lamps."], "the red lamps keep people awake"),
            (['"A part of the profit goes to the village," {who} said.', "{who} promised the village a part of the profit."], "the village will share the profit"),
        ],
        "fillers": ["Larks sang above the meadow.", "Heavy cranes had blocked the lane for weeks.", "From the top one can see the sea."],
        "summary": [
            "Windmills {n} metres high have made power for {place} since {day}, as {reason}.",
            "They belong to the {org}.",
            "A remark of {who}: {view}.",
        ],
    },
]

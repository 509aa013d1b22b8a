// Fiji and ImageJ: segments the current image, a stack too, and opens its objects in the ROI Manager.
// Open this file in Fiji's script editor (File > New > Script..., then File > Open...) and choose Run.
// The environment variables SEGMENT_URL, SEGMENT_KEY and SEGMENT_QUERY replace the values below.
import ij.IJ
import ij.io.FileSaver
import ij.plugin.frame.RoiManager

def url = System.getenv("SEGMENT_URL") ?: "http://localhost:8000"
def key = System.getenv("SEGMENT_KEY") ?: ""
// see "POST /segment" in docs/api.md: threshold, channel, model and others
def query = System.getenv("SEGMENT_QUERY") ?: "min_area=50"

def image = IJ.getImage()
def connection = new URL("${url}/segment?output=rois&${query}").openConnection()
connection.requestMethod = "POST"
connection.doOutput = true
connection.setRequestProperty("Content-Type", "image/tiff")
if (key) connection.setRequestProperty("X-API-Key", key)
connection.outputStream.withCloseable { it.write(new FileSaver(image).serialize()) }
if (connection.responseCode != 200) {
    IJ.error("Segmentation", connection.errorStream.text)
    return
}
def file = File.createTempFile("objects", ".zip")
file.bytes = connection.inputStream.bytes
def manager = RoiManager.getInstance() ?: new RoiManager()
manager.reset()
// the ZIP of an image without objects is empty, and ImageJ reports an empty ZIP as an error
if (file.length() > 22) manager.runCommand("Open", file.path)
manager.runCommand(image, "Show All")
file.delete()
IJ.showStatus("${manager.count} objects in ${image.title}, by ${connection.getHeaderField('X-Model')}")
